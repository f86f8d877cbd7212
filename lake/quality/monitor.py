"""The hourly look at a source: how good was what landed, is everything as fresh as promised, does anything come at all?

Every complaint goes to the ledger of the source, once a window. A broken promise is a warning: a person reads it in the
deck and in the weekly report. Data too poor to train on, or none for a day, are something to act on: the run fails once
its finding is kept, so that whoever is told of failures is told of this one.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from errors import QualityTooLow
from lake.contracts import contract
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.quality.score import QualityGate, QualityLevel, QualityReport, quality_report
from lake.windows import Window

CHECKED = "checked"
LANDING = "processed."
"""Data sets of this namespace land from outside, a batch at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchRule:
    """What may be how old, and what is too little to judge."""

    data_sets: list[str] = field(
        default_factory=lambda: ["processed.agent_interactions", "ml.agent_features", "ml.user_features"]
    )
    """Whose newest row is looked at. Data that come now and then, as thumbs do, are better left out."""
    where_there: list[str] = field(default_factory=lambda: ["ml.infrastructure_features"])
    """The same, but only once they have a row: not every lake measures its clusters."""
    silent_after_hours: float = 24.0
    """A source whose newest row is older than this has stopped, whatever its contract says."""

    least_lines: int = 50
    """Poor quality of fewer lines than this only warns: three bad lines of a quiet hour need not wake anybody."""

    def __post_init__(self) -> None:
        if self.silent_after_hours <= 0 or self.least_lines < 0:
            raise ValueError(f"silent_after_hours must be above 0 and least_lines not below, unlike in {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness:
    """How old a data set's newest row is, and how old it may be."""

    data_set: str
    newest: str
    """Its time, ISO 8601; empty where the data set has no row yet."""
    age_s: float
    """At the scheduled time of the check; 0 without a row."""
    limit_s: float
    """The contract's promise; for rows that land from outside, and the time between two landings."""
    kept: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check found."""

    window_end: str
    level: QualityLevel
    report: QualityReport
    freshness: list[Freshness]
    complaints: list[str]
    """What is wrong, in words, the worst first; empty where nothing is."""


def check(
    lake: Lake, source: str, data_set: str, due: Window, *, period: timedelta, gate: QualityGate, rule: WatchRule
) -> Finding:
    """Judge what a source landed in a window and how fresh everything is at its end; a bad finding goes to the ledger.

    Args:
        lake: where the data are.
        source: whose landings, and whose ledger.
        data_set: what it lands.
        due: the window; the same window finds the same again.
        period: the time between two landings.
        gate: the scores that warn and block.
        rule: what may be how old, and what is too little to judge.
    """
    form = contract(data_set)
    report = quality_report(lake, form, source, since=due.start, until=due.end, gate=gate)
    names = [*rule.data_sets, *(name for name in rule.where_there if lake.tables.newest_time(contract(name)))]
    fresh = [freshness(lake, contract(name), due.end, period) for name in names]
    silent = [one.data_set for one in fresh if one.data_set == form.name and _silent(one, rule)]
    complaints = [*_silence(fresh, silent), *_poor(report, gate), *_broken(report), *_late(fresh, silent)]
    poor = report.level is QualityLevel.BLOCKED and report.landed >= rule.least_lines
    blocked = bool(silent) or poor
    level = QualityLevel.BLOCKED if blocked else QualityLevel.WARNING if complaints else QualityLevel.GOOD
    found = Finding(window_end=due.end.isoformat(), level=level, report=report, freshness=fresh, complaints=complaints)
    if complaints:
        key = f"{CHECKED}:{form.name}:{found.window_end}"
        lake.ledger.append(f"sources/{source}", CHECKED, key, _plain(found))
    return found


def require_sound(found: Finding) -> None:
    """Fail where somebody has to act.

    Raises:
        QualityTooLow: the finding is ``BLOCKED``; the message says what is wrong.
    """
    if found.level is QualityLevel.BLOCKED:
        raise QualityTooLow(f"{found.report.data_set} at {_minute(found.window_end)}: {'; '.join(found.complaints)}")


def freshness(lake: Lake, form: Contract, at: datetime, period: timedelta) -> Freshness:
    """How old a data set's newest row is ``at`` an instant, from the table's metadata alone."""
    limit = form.freshness_s + (period.total_seconds() if form.name.startswith(LANDING) else 0)
    last = lake.tables.newest_time(form)
    if last is None:
        return Freshness(data_set=form.name, newest="", age_s=0.0, limit_s=limit, kept=False)
    age = max(0.0, (at - last).total_seconds())
    return Freshness(data_set=form.name, newest=last.isoformat(), age_s=age, limit_s=limit, kept=age <= limit)


def _silent(one: Freshness, rule: WatchRule) -> bool:
    return bool(one.newest) and one.age_s > rule.silent_after_hours * 3600


def _silence(fresh: list[Freshness], silent: list[str]) -> list[str]:
    return [
        f"nothing newer than {_minute(one.newest)} has come: {one.data_set} stands still"
        for one in fresh
        if one.data_set in silent
    ]


def _minute(instant: str) -> str:
    return f"{instant[:16].replace('T', ' ')} UTC"


def _poor(report: QualityReport, gate: QualityGate) -> list[str]:
    if report.level is QualityLevel.GOOD:
        return []
    limit = gate.block_below if report.level is QualityLevel.BLOCKED else gate.warn_below
    worst = ", ".join(f"{rule.rule} {rule.rows}" for rule in report.rules[2:5])
    told = f"{report.quarantined:,} of {report.landed:,} lines quarantined"
    return [f"quality {report.score:.1f} is below {limit:g} ({told}: {worst})"]


def _broken(report: QualityReport) -> list[str]:
    """The contract's two promises."""
    return [
        f"{rule.rule.replace('_', ' ')}: {rule.share:.1%} of the lines broke it, {rule.limit:.1%} may"
        for rule in report.rules[:2]
        if not rule.kept
    ]


def _late(fresh: list[Freshness], silent: list[str]) -> list[str]:
    late = [one for one in fresh if not one.kept and one.data_set not in silent]
    return [
        f"{one.data_set} is {one.age_s / 3600:.1f} h old, {one.limit_s / 3600:.1f} h are promised"
        if one.newest
        else f"{one.data_set} has no row yet"
        for one in late
    ]


def _plain(found: Finding) -> Mapping[str, Any]:
    names = ("score", "landed", "committed", "quarantined", "duplicates")
    return {
        "window_end": found.window_end,
        "data_set": found.report.data_set,
        "level": found.level.value,
        "complaints": found.complaints,
        "freshness": [asdict(one) for one in found.freshness],
        **{name: getattr(found.report, name) for name in names},
    }
