"""The results: one line per comparison, written as JSON, printed as a Markdown table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HEADER = ("What", "Unit", "Ours", "Peer", "Peer's", "Ours / peer's", "Bar", "Held")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One figure of ours, that of a peer, and the limits of it."""

    what: str
    unit: str
    """The unit, for example ``rows/s``, ``s``, ``MB``."""
    ours: float
    peer: str = ""
    theirs: float | None = None
    most_ratio: float | None = None
    """Limit: ours at most this many times theirs."""
    least_ratio: float | None = None
    """Limit: ours at least this many times theirs."""
    most: float | None = None
    """Upper limit of our figure, in ``unit``."""
    least: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over theirs."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def bars(self) -> list[tuple[str, bool]]:
        """Each limit as text, and whether it holds."""
        found: list[tuple[str, bool]] = []
        for value, unit, most, least in (
            (self.ours, f" {self.unit}", self.most, self.least),
            (self.ratio, "x", self.most_ratio, self.least_ratio),
        ):
            if value is not None and most is not None:
                found.append((f"≤ {most:,g}{unit}", value <= most))
            if value is not None and least is not None:
                found.append((f"≥ {least:,g}{unit}", value >= least))
        return found

    def cells(self, *, judged: bool) -> tuple[str, ...]:
        """The line as text, in the order of ``HEADER``; the limits only if ``judged``."""
        bars = self.bars if judged else []
        return (
            *(self.what, self.unit, number(self.ours), self.peer),
            "" if self.theirs is None else number(self.theirs),
            "" if self.ratio is None else f"{self.ratio:.2f}",
            ", ".join(text for text, _ in bars),
            ("yes" if all(held for _, held in bars) else "**no**") if bars else "",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """One run of the benchmarks."""

    machine: Mapping[str, str]
    load_before: str
    load_after: str
    quick: bool
    runs: int
    lines: Sequence[Line]

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @staticmethod
    def read(path: Path) -> "Results":
        """The results in a file from ``write``."""
        stored = json.loads(path.read_text())
        return Results(**{**stored, "lines": [Line(**line) for line in stored["lines"]]})

    def markdown(self) -> str:
        """The table, and below it the machine."""
        rows = [HEADER, *(line.cells(judged=not self.quick) for line in self.lines)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
        text = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([text[0], rule, *text[1:], "", self._machine_text()])

    def _machine_text(self) -> str:
        versions = ", ".join(
            f"{name} {value}"
            for name, value in self.machine.items()
            if name not in ("time", "processor", "cores", "memory", "system")
        )
        size = "QUICK: small inputs, the bars do not apply. " if self.quick else ""
        return (
            f"{size}Medians of {self.runs} interleaved runs, {self.machine['time']}, on {self.machine['processor']}, "
            f"{self.machine['cores']} cores, {self.machine['memory']}. Load average before: {self.load_before}; "
            f"after: {self.load_after}. {versions}."
        )


def number(value: float) -> str:
    """Three significant digits, with separators of thousands."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
