"""The hourly check of a source: the quality of what landed, the freshness of its data sets, and whether it has stopped.

A check with complaints is written to the source's ledger, once per window. A violated limit of a contract is a warning.
Data too poor to train on, or none for a day, need action: the run fails after its result is recorded, so that the
people who are notified of failures see it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from errors import QualityTooLow
from lake.contracts import contract
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.quality.score import ROWS, QualityGate, QualityLevel, QualityReport, quality_report
from lake.windows import Window

CHECKED = "checked"
"""Kind of the ledger entry of a check with complaints."""
LANDING = "processed."
"""Prefix of the data sets whose rows land from outside, in batches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitoringPolicy:
    """Which data sets are checked for freshness, and how much data are too few for a verdict."""

    data_sets: list[str] = field(
        default_factory=lambda: ["processed.agent_interactions", "ml.agent_features", "ml.user_features"]
    )
    """Data sets whose newest row is checked. Better without those whose data are irregular, such as feedback."""
    where_there: list[str] = field(default_factory=lambda: ["ml.infrastructure_features"])
    """The same, but only once they have a row: not every lake has metrics of its clusters."""
    silent_after_hours: float = 24.0
    """A source whose newest row is older than this has stopped, whatever its contract promises."""
    least_lines: int = 50
    """Poor quality of fewer lines than this is only a warning: three bad lines in a quiet hour are no alarm."""

    def __post_init__(self) -> None:
        if self.silent_after_hours <= 0 or self.least_lines < 0:
            raise ValueError(f"silent_after_hours must be above 0 and least_lines not below, unlike in {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness:
    """The age of a data set's newest row, and its limit."""

    data_set: str
    newest: str
    """Time of the row, ISO 8601; empty if the data set has no row yet."""
    age_s: float
    """At the scheduled time of the check; 0 without a row."""
    limit_s: float
    """The contract's promise; plus the time between two landings, for rows that land from outside."""
    kept: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """The result of one check."""

    window_end: str
    level: QualityLevel
    report: QualityReport
    freshness: list[Freshness]
    complaints: list[str]
    """What is wrong, the worst first; empty if nothing is."""


def check(
    lake: Lake, source: str, data_set: str, due: Window, *, period: timedelta, gate: QualityGate, rule: MonitoringPolicy
) -> CheckResult:
    """Check what landed in the window ``due``, and the freshness of all data sets at its end. A repeated check of a
    window has the same result. ``period`` is the time between two landings; the ledger of ``source`` gets the findings.
    """
    declared = contract(data_set)
    report = quality_report(lake, declared, "", gate, since=due.start, until=due.end)
    names = [*rule.data_sets, *(name for name in rule.where_there if lake.tables.newest_time(contract(name)))]
    ages = [freshness(lake, contract(name), due.end, period) for name in names]
    silent_s = rule.silent_after_hours * 3600
    stopped = [age for age in ages if age.data_set == declared.name and age.newest and age.age_s > silent_s]
    late = [age for age in ages if not age.kept and age not in stopped]
    silent = [f"{age.data_set} has stopped: it has no row newer than {_minute(age.newest)}" for age in stopped]
    complaints = [*silent, *_poor(report, gate), *map(_late, late)]
    level = QualityLevel.WARNING if complaints else QualityLevel.GOOD
    if stopped or (report.level is QualityLevel.BLOCKED and report.landed >= rule.least_lines):
        level = QualityLevel.BLOCKED
    end = due.end.isoformat()
    if complaints:
        payload = {
            "window_end": end,
            "data_set": report.data_set,
            "level": level.value,
            "complaints": complaints,
            "freshness": [asdict(age) for age in ages],
            **{name: getattr(report, name) for name in ("score", *ROWS)},
        }
        lake.ledger.append(f"sources/{source}", CHECKED, f"{CHECKED}:{declared.name}:{end}", payload)
    return CheckResult(window_end=end, level=level, report=report, freshness=ages, complaints=complaints)


def require_acceptable(result: CheckResult) -> None:
    """Raise ``QualityTooLow``, with the complaints, if the result needs action."""
    if result.level is QualityLevel.BLOCKED:
        complaints = "; ".join(result.complaints)
        raise QualityTooLow(f"{result.report.data_set} at {_minute(result.window_end)}: {complaints}")


def freshness(lake: Lake, declared: Contract, at: datetime, period: timedelta) -> Freshness:
    """The age of a data set's newest row ``at`` an instant, from the table's metadata alone."""
    limit = declared.freshness_s + (period.total_seconds() if declared.name.startswith(LANDING) else 0)
    newest = lake.tables.newest_time(declared)
    if newest is None:
        return Freshness(data_set=declared.name, newest="", age_s=0.0, limit_s=limit, kept=False)
    age = max(0.0, (at - newest).total_seconds())
    return Freshness(data_set=declared.name, newest=newest.isoformat(), age_s=age, limit_s=limit, kept=age <= limit)


def _minute(instant: str) -> str:
    return f"{instant[:16].replace('T', ' ')} UTC"


def _poor(report: QualityReport, gate: QualityGate) -> Iterable[str]:
    """Complaints about the score, then about the contract's promises."""
    if report.level is not QualityLevel.GOOD:
        limit = gate.block_below if report.level is QualityLevel.BLOCKED else gate.warn_below
        worst = ", ".join(f"{rule.rule} {rule.rows}" for rule in report.reasons[:3])
        share = f"{report.quarantined:,} of {report.landed:,} lines quarantined"
        yield f"quality {report.score:.1f} is below {limit:g} ({share}: {worst})"
    for rule in report.promises:
        if not rule.kept:
            yield f"{rule.rule.replace('_', ' ')}: {rule.share:.1%} of the lines broke it, {rule.limit:.1%} is allowed"


def _late(age: Freshness) -> str:
    if not age.newest:
        return f"{age.data_set} has no row yet"
    return f"{age.data_set} is {age.age_s / 3600:.1f} h old, {age.limit_s / 3600:.1f} h is promised"
