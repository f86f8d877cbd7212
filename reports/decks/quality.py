"""Decks of the checks: the gate before training, the hourly checks of data and servers, the daily audit of keys."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lake.quality.monitor import CheckResult
from lake.quality.score import QualityReport
from lake.quality.staleness import SourceFreshness
from reports.charts.common import bars
from reports.common.html import facts, heading, note, table
from reports.common.palette import RED

if TYPE_CHECKING:
    from lake.store.ledger import Entry


def gate_deck(report: QualityReport) -> list[str]:
    """The score of what landed since the last training, and the rows by broken rule."""
    reasons = report.reasons
    names = ("score", "landed", "duplicates")
    return [
        facts({"level": report.level.value, **{name: getattr(report, name) for name in names}}),
        bars([r.rule for r in reasons], [r.rows for r in reasons], "Rows by broken rule", "rows", RED)
        if reasons
        else note("No row broke a rule."),
    ]


def check_deck(result: CheckResult) -> list[str]:
    """One hourly check: complaints, the age of each data set, the rules of the contract."""
    report = result.report
    figures = {name: getattr(report, name) for name in ("score", "landed", "quarantined")}
    rules = [
        {"rule": r.rule, "lines": r.rows, "share": r.share, "limit": r.limit, "kept": r.kept} for r in report.rules
    ]
    ages = [
        {
            "data set": age.data_set,
            "newest row (UTC)": _minute(age.newest),
            "age, hours": age.age_s / 3600,
            "promised, hours": age.limit_s / 3600,
            "kept": age.kept,
        }
        for age in result.freshness
    ]
    return [
        facts({"level": result.level.value, **figures, "up to": _minute(result.window_end)}),
        *(note(complaint) for complaint in result.complaints or ["No complaints."]),
        heading("Freshness"),
        table(ages),
        heading("Quality"),
        table(rules),
    ]


def servers_deck(checked: Sequence[SourceFreshness]) -> list[str]:
    """The newest row of each server that is pulled from, and the complaints."""
    ages = [
        {
            "source": age.source,
            "data set": age.data_set,
            "newest row (UTC)": _minute(age.newest),
            "age, hours": age.age_s / 3600,
            "limit, hours": age.limit_s / 3600,
        }
        for age in checked
    ]
    return [table(ages), *(note(age.complaint) for age in checked if age.complaint)]


def audit_deck(audited: "Entry") -> list[str]:
    """The rules of uniqueness that a table version breaks, from the ``audited`` entry."""
    findings = audited.payload["findings"]
    return [facts({"version": audited.payload["version"], "broken rules": len(findings)}), table(findings)]


def _minute(instant: str) -> str:
    return instant[:16].replace("T", " ") or "none yet"
