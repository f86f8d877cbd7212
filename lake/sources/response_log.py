"""Servers' responses as they came: what the rows of a window were made of, so that a later parser can make them again.

A file is a zstd stream of responses: a line of JSON with the request and the length of the body, the body, a newline.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

SUFFIX = ".answers.zst"
Parameters = Mapping[str, str | int]
"""The parameters of a request's query, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRequest:
    """The request of one response, without the token."""

    path: str
    parameters: Sequence[tuple[str, str]]
    status: int
    bytes: int
    """Length of the body."""


class ResponseLog:
    """A file that responses are written to; complete once it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = pa.CompressedOutputStream(str(path), "zstd")

    def record(self, path: str, parameters: Parameters, status: int, body: bytes) -> None:
        """Append one response."""
        named = [(name, str(value)) for name, value in parameters.items()]
        request = LoggedRequest(path=path, parameters=named, status=status, bytes=len(body))
        self._file.write(json.dumps(asdict(request), separators=(",", ":")).encode() + b"\n" + body + b"\n")

    def close(self) -> None:
        """Write everything to the file. A second call does nothing."""
        self._file.close()
