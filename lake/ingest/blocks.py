"""Blocks of JSON lines: every file format is read as these, so that one parser and one set of checks serve all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Block:
    """Complete JSON lines; ``first`` is the number of the first one in its source object, counted from 1."""

    first: int
    data: bytes

    @cached_property
    def lines(self) -> int:
        """The number of lines; a newline at the end starts no further line."""
        return self.data.count(b"\n") + (not self.data.endswith(b"\n"))

    @property
    def last(self) -> int:
        return self.first + self.lines - 1

    def texts(self, lines: Sequence[int]) -> list[bytes]:
        indexes = [number - self.first for number in lines]
        return [self.data[self._starts[i] : self._starts[i + 1]].removesuffix(b"\n") for i in indexes]

    def pieces(self, number: int) -> Iterator["Block"]:
        """The same lines in at most ``number`` blocks."""
        step = -(-self.lines // number)
        for at in range(0, self.lines, step):
            end = self._starts[min(at + step, self.lines)]
            yield Block(first=self.first + at, data=self.data[self._starts[at] : end])

    @cached_property
    def _starts(self) -> npt.NDArray[np.intp]:
        """The offsets at which the lines start, and that at which the last one ends."""
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == ord("\n")) + 1
        return np.concatenate(([0], ends, [] if self.data.endswith(b"\n") else [len(self.data)])).astype(np.intp)


def decoded(data: bytes) -> str | None:
    """The bytes as text; None where they are not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A place where the source object itself is damaged."""

    line: int
    reason: str

    @property
    def last(self) -> int:
        return self.line
