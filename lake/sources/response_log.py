"""Answers as servers gave them: what a window's rows were made of, so that a later parser can make them again.

A file is a zstd stream of answers, each a line of JSON that says what was asked and how long the answer is, the bytes
of the answer, and a newline.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

SUFFIX = ".answers.zst"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What one answer answers. A token is no part of it."""

    path: str
    parameters: Sequence[tuple[str, str]]
    status: int
    bytes: int


class Answers:
    """A file that answers are written to."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._file = pa.CompressedOutputStream(str(path), "zstd")

    def keep(self, path: str, parameters: Sequence[tuple[str, str]], status: int, body: bytes) -> None:
        """Write one down."""
        asked = Asked(path=path, parameters=list(parameters), status=status, bytes=len(body))
        self._file.write(json.dumps(asdict(asked), separators=(",", ":")).encode() + b"\n")
        self._file.write(body)
        self._file.write(b"\n")
        self.count += 1

    def close(self) -> None:
        """Bring all of it to the file; once, or again."""
        self._file.close()


def read_answers(path: Path) -> Iterator[tuple[Asked, bytes]]:
    """The answers of a file, in the order in which they came."""
    with io.BufferedReader(pa.CompressedInputStream(str(path), "zstd")) as file:
        while line := file.readline():
            said = json.loads(line)
            asked = Asked(**said | {"parameters": [(name, value) for name, value in said["parameters"]]})
            yield asked, file.read(asked.bytes)
            file.read(1)
