"""Do the servers that are pulled from still tell anything? One that fell silent looks like a cluster without troubles.

How far a source has been read stands in its table's watermark, which moves with its rows; so a collector that stopped
and a server that has nothing left to say are told alike. A source that never told anything is a warning, because its
plan may not be active yet; one that told and stopped is something to act on.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime

from errors import SourceError
from lake.contracts import contract
from lake.lake import Lake
from lake.sources.pull import source_name
from lake.sources.registry import pull_source

SILENT = "silent"


@dataclass(frozen=True, kw_only=True, slots=True)
class SilenceRule:
    """How long which data sets may have nothing new."""

    hours: dict[str, float] = field(
        default_factory=lambda: {
            "processed.metrics": 1.0,
            "processed.logs": 3.0,
            "processed.kubernetes_events": 24.0,
        }
    )
    """By data set; a cluster where all is well may have no event for hours. One whose servers are not set is passed
    over."""

    def __post_init__(self) -> None:
        if odd := [name for name, hours in self.hours.items() if hours <= 0]:
            raise ValueError(f"hours must be above 0, unlike those of {', '.join(odd)}")
        for name in self.hours:
            pull_source(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """How far one server's data set has come."""

    source: str
    """For example ``prometheus-studio``."""
    data_set: str
    newest: str
    """Time of the newest row (UTC, ISO 8601); empty where none ever came."""
    age_s: float
    limit_s: float

    @property
    def silent(self) -> bool:
        """Whether it told something once, and nothing for too long."""
        return bool(self.newest) and self.age_s > self.limit_s

    @property
    def complaint(self) -> str:
        """What is wrong, in words; empty where nothing is."""
        if self.silent:
            return f"{self.source} tells nothing: the newest row of {self.data_set} is of {self.newest[:16]} UTC"
        return "" if self.newest else f"{self.source} has not told anything of {self.data_set} yet"


def listen(lake: Lake, rule: SilenceRule, at: datetime) -> list[Heard]:
    """How far every server of the rule's data sets has come ``at`` an instant (UTC); silence goes to its ledger, once.

    Raises:
        UnknownName: no such data set.
    """
    heard = []
    for name, hours in rule.hours.items():
        peer, form = pull_source(name).peer, contract(name)
        if not getattr(lake.settings, peer):
            continue
        for endpoint in lake.settings.endpoints(peer):
            source = source_name(endpoint)
            newest = lake.tables.watermark(form, source)
            age = (at - newest).total_seconds() if newest else 0.0
            told = newest.isoformat() if newest else ""
            one = Heard(source=source, data_set=name, newest=told, age_s=max(0.0, age), limit_s=hours * 3600)
            if one.silent:
                key = f"{SILENT}:{name}:{at.isoformat()}"
                lake.ledger.append(f"sources/{source}", SILENT, key, asdict(one))
            heard.append(one)
    return heard


def require_heard(heard: list[Heard]) -> None:
    """Fail where somebody has to act.

    Raises:
        SourceError: a source fell silent; the message says which, and since when.
    """
    if complaints := [one.complaint for one in heard if one.silent]:
        raise SourceError("; ".join(complaints))
