"""Whether the servers that are pulled from still have new data: a server that stopped sending looks like a cluster
without problems.

How far a source has been read is its table's watermark, which moves with its rows. So a collector that stopped and a
server without new data look the same. A source that never had data is a warning, and an error once, after a day; one
that had data and stopped is an error.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime

from errors import SourceError
from lake.contracts import contract
from lake.lake import Lake
from lake.sources.first_delivery import overdue
from lake.sources.pull import source_name
from lake.sources.registry import pull_source

SILENT = "silent"
"""Kind of the ledger entry of a stale source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StalenessPolicy:
    """For how long a data set may have no new row from a server."""

    hours: dict[str, float] = field(
        default_factory=lambda: {"processed.metrics": 1.0, "processed.logs": 3.0, "processed.kubernetes_events": 24.0}
    )
    """By data set; a healthy cluster may have no event for hours. A data set whose servers are not set is skipped."""

    def __post_init__(self) -> None:
        if invalid := [name for name, hours in self.hours.items() if hours <= 0]:
            raise ValueError(f"hours must be above 0, unlike those of {', '.join(invalid)}")
        for name in self.hours:
            pull_source(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFreshness:
    """The age of the newest row of one server and data set."""

    source: str
    """For example ``prometheus-studio``."""
    data_set: str
    newest: str
    """Time of the newest row (UTC, ISO 8601); empty if there was never a row."""
    age_s: float
    limit_s: float
    overdue: bool = False
    """Whether it is reported now that it never had a row."""

    @property
    def stale(self) -> bool:
        """Whether it had rows, and none for too long; or is overdue."""
        return self.overdue or (bool(self.newest) and self.age_s > self.limit_s)

    @property
    def complaint(self) -> str:
        """What is wrong; empty if nothing is."""
        if self.newest and self.stale:
            return f"{self.source} has stopped: the newest row of {self.data_set} is of {self.newest[:16]} UTC"
        return "" if self.newest else f"{self.source} has had no row of {self.data_set} yet"


def check_sources(lake: Lake, policy: StalenessPolicy, at: datetime) -> list[SourceFreshness]:
    """The freshness of every server of the policy's data sets ``at`` an instant (UTC). A stale one gets a ledger
    entry.
    """
    checked = []
    for name, hours in policy.hours.items():
        peer = pull_source(name).peer
        for endpoint in lake.settings.endpoints(peer) if getattr(lake.settings, peer) else ():
            source = source_name(endpoint)
            newest = lake.tables.watermark(contract(name), source)
            freshness = SourceFreshness(
                source=source,
                data_set=name,
                newest=newest.isoformat() if newest else "",
                age_s=max(0.0, (at - newest).total_seconds()) if newest else 0.0,
                limit_s=hours * 3600,
                overdue=newest is None and overdue(lake, source, name, at),
            )
            if newest and freshness.stale:
                key = f"{SILENT}:{name}:{at.isoformat()}"
                lake.ledger.append(f"sources/{source}", SILENT, key, asdict(freshness))
            checked.append(freshness)
    return checked


def require_fresh(checked: list[SourceFreshness]) -> None:
    """Raise ``SourceError`` where sources have stopped, with their names and since when."""
    if complaints := [freshness.complaint for freshness in checked if freshness.stale]:
        raise SourceError("; ".join(complaints))
