"""Servers' responses as they came: what the rows of a window were made of, so that a later parser can make them again.

A file is a zstd stream of responses: a line of JSON with the request and the length of the body, the body, a newline.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

SUFFIX = ".answers.zst"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRequest:
    """The request of one response, without the token."""

    path: str
    parameters: Sequence[tuple[str, str]]
    status: int
    bytes: int
    """Length of the body."""


class ResponseLog:
    """A file that responses are written to."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._file = pa.CompressedOutputStream(str(path), "zstd")

    def record(self, path: str, parameters: Sequence[tuple[str, str]], status: int, body: bytes) -> None:
        """Append one response."""
        request = LoggedRequest(path=path, parameters=list(parameters), status=status, bytes=len(body))
        self._file.write(json.dumps(asdict(request), separators=(",", ":")).encode() + b"\n")
        self._file.write(body)
        self._file.write(b"\n")
        self.count += 1

    def close(self) -> None:
        """Write everything to the file. A second call does nothing."""
        self._file.close()


def read_responses(path: Path) -> Iterator[tuple[LoggedRequest, bytes]]:
    """The responses of a file, in the order in which they came."""
    with io.BufferedReader(pa.CompressedInputStream(str(path), "zstd")) as file:
        while line := file.readline():
            fields = json.loads(line)
            fields["parameters"] = [(name, value) for name, value in fields["parameters"]]
            request = LoggedRequest(**fields)
            yield request, file.read(request.bytes)
            file.read(1)
