"""What a pull is asked to do and what it says it did, as they cross from launch plans to tasks and to the ledger."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from settings import NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What is pulled into one data set, and how."""

    data_set: str
    queries: dict[str, str]
    """What is asked, by a name of ours: PromQL, LogQL, TraceQL, a namespace, a repository, as the source takes it."""
    clusters: list[str] = field(default_factory=list)
    """Which of the servers in the settings; all of them where empty."""
    step_s: int = 60
    """Between two points of a metric."""
    chunk_minutes: int = 60
    """A window is asked for in pieces of this length, each done once and for all."""
    lateness_minutes: int = 0
    """How far before its window a run reads again, for what came late."""
    settle_s: int = 60
    """How long before its time a run's window ends: what is newer may not all be there."""
    first_hours: int = 24
    """How far back the first run goes; more is a back-fill."""

    def __post_init__(self) -> None:
        if not self.queries:
            raise ValueError(f"{self.data_set}: name at least one query")
        if odd := [name for name in self.queries if not re.fullmatch(NAME, name)]:
            raise ValueError(f"a query's name is of a-z, 0-9 and -, unlike {odd[0]!r}")
        if min(self.step_s, self.chunk_minutes, self.first_hours) < 1 or min(self.lateness_minutes, self.settle_s) < 0:
            raise ValueError(f"steps and chunks are 1 or more, lateness and settling not below 0, unlike in {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """What one window of one server brought."""

    source: str
    queries: list[str]
    """Their names."""
    start: str
    end: str
    requests: int
    object: str = ""
    """What landed in the raw zone; empty where there was nothing."""
    answers: str = ""
    """The server's answers as they came, there too; empty where they brought nothing that was not in."""
    landed: int = 0
    committed: int = 0
    quarantined: int = 0
    duplicates: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    """What went wrong on the way and was mended by trying again, by kind."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Quarantined rows by reason."""
    watermark: str = ""
    """Time of the newest committed row; empty without one."""
    skew_s: float = 0.0
    """How far the server's clock was ahead of ours."""
    cursor: dict[str, dict[str, str]] = field(default_factory=dict)
    """What the next pull goes on from, by query."""
    new: bool = True
    """False where an earlier run did the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSum:
    """What several windows of one server brought together."""

    source: str
    windows: int
    requests: int
    landed: int
    committed: int
    quarantined: int
    duplicates: int
    watermark: str
    skew_s: float
    """The widest."""
    faults: dict[str, int]
    reasons: dict[str, int]


def by_source(done: Iterable[Pulled]) -> list[SourceSum]:
    """The pulls by server, in order of their names; what an earlier run did counts as a window and nothing else."""
    sources: dict[str, list[Pulled]] = {}
    for one in done:
        sources.setdefault(one.source, []).append(one)
    return [_sum(name, pulled) for name, pulled in sorted(sources.items())]


def _sum(source: str, pulled: list[Pulled]) -> SourceSum:
    new = [one for one in pulled if one.new]
    return SourceSum(
        source=source,
        windows=len(pulled),
        requests=sum(one.requests for one in new),
        landed=sum(one.landed for one in new),
        committed=sum(one.committed for one in new),
        quarantined=sum(one.quarantined for one in new),
        duplicates=sum(one.duplicates for one in new),
        watermark=max(one.watermark for one in pulled),
        skew_s=max((one.skew_s for one in new), key=abs, default=0.0),
        faults=dict(sum((Counter(one.faults) for one in new), Counter())),
        reasons=dict(sum((Counter(one.reasons) for one in new), Counter())),
    )
