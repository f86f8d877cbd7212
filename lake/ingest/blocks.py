"""What every source of rows yields: blocks of JSON lines, so that one parser and one set of checks serve them all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Block:
    """Complete JSON lines; ``first`` is the number of the first one in its source object, from 1."""

    first: int
    data: bytes

    @cached_property
    def lines(self) -> int:
        """How many lines there are; an end of line at the end begins no other."""
        return self.data.count(b"\n") + (not self.data.endswith(b"\n"))

    @property
    def last(self) -> int:
        """The number of its last line."""
        return self.first + self.lines - 1

    def texts(self, lines: Sequence[int]) -> list[bytes]:
        """The lines of these numbers."""
        places = [number - self.first for number in lines]
        return [self.data[self._starts[at] : self._starts[at + 1]].removesuffix(b"\n") for at in places]

    def pieces(self, number: int) -> Iterator["Block"]:
        """The same lines as at most so many blocks."""
        step = -(-self.lines // number)
        for at in range(0, self.lines, step):
            end = self._starts[min(at + step, self.lines)]
            yield Block(first=self.first + at, data=self.data[self._starts[at] : end])

    @cached_property
    def _starts(self) -> npt.NDArray[np.intp]:
        """Where each line begins, and where the last one ends."""
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == ord("\n")) + 1
        return np.concatenate(([0], ends, [] if self.data.endswith(b"\n") else [len(self.data)])).astype(np.intp)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A place where the source object itself is at fault."""

    line: int
    reason: str

    @property
    def last(self) -> int:
        """The number of the line, as of a block."""
        return self.line
