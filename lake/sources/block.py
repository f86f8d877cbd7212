"""What every source of rows yields: blocks of JSON lines, so that one parser and one set of checks serve them all."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Complete JSON lines; ``first`` is the number of the first one in its source object, from 1."""

    first: int
    data: bytes

    @property
    def last(self) -> int:
        """The number of its last line."""
        return self.first + self.data.count(b"\n") - self.data.endswith(b"\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A place where the source object itself is at fault."""

    line: int
    reason: str

    @property
    def last(self) -> int:
        """The number of the line, as of a block."""
        return self.line
