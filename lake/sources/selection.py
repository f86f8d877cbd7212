"""The input and the result of a pull, as launch plans, tasks and the ledger hold them."""

import re
from dataclasses import dataclass, field

from settings import NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What is pulled into one data set, and how."""

    data_set: str
    queries: dict[str, str]
    """By a name of one's own: PromQL, LogQL, TraceQL, a namespace, a repository, depending on the source."""
    clusters: list[str] = field(default_factory=list)
    """Which of the servers in the settings; all of them if empty."""
    step_s: int = 60
    """Between two points of a metric."""
    chunk_minutes: int = 60
    """A window is requested in chunks of this length, each of which is done once."""
    lateness_minutes: int = 0
    """How far before its window a run reads again, for late data."""
    settle_s: int = 60
    """How long before its time a run's window ends, because newer data may be incomplete."""
    first_hours: int = 24
    """How far back the first run reads; earlier data need a back-fill."""

    def __post_init__(self) -> None:
        if not self.queries:
            raise ValueError(f"{self.data_set}: name at least one query")
        if invalid := [name for name in self.queries if not re.fullmatch(NAME, name)]:
            raise ValueError(f"a query's name consists of a-z, 0-9 and -, unlike {invalid[0]!r}")
        if min(self.step_s, self.chunk_minutes, self.first_hours) < 1 or min(self.lateness_minutes, self.settle_s) < 0:
            raise ValueError(f"steps and chunks are 1 or more, lateness and settling not below 0, unlike in {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """The result of one window of one server."""

    source: str
    queries: list[str]
    """Their names."""
    start: str
    end: str
    requests: int
    object: str = ""
    """Key of the raw object; empty where there were no rows."""
    answers: str = ""
    """Key of the recorded responses; empty where they had no new rows."""
    landed: int = 0
    committed: int = 0
    quarantined: int = 0
    duplicates: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    """Failures that a retry resolved, by kind."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Quarantined rows by reason."""
    watermark: str = ""
    """Time of the newest committed row; empty if there is none."""
    skew_s: float = 0.0
    """How far the server's clock was ahead of this machine's."""
    cursor: dict[str, dict[str, str]] = field(default_factory=dict)
    """Where the next pull continues, by query."""
    new: bool = True
    """False if an earlier run did the work."""
