"""Decks of the checks: the gate before training, the hourly checks of data and servers, the daily audit of keys."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lake.quality.monitor import Finding
from lake.quality.score import QualityReport
from lake.quality.staleness import Heard
from reports.charts.common import bars
from reports.common.html import facts, heading, note, table
from reports.common.palette import RED

if TYPE_CHECKING:
    from lake.store.ledger import Entry


def gate_deck(report: QualityReport) -> list[str]:
    """The score of what landed since the last training, and the rows by broken rule."""
    reasons = report.rules[2:]
    names = ("score", "landed", "duplicates")
    return [
        facts({"level": report.level.value, **{name: getattr(report, name) for name in names}}),
        bars([r.rule for r in reasons], [r.rows for r in reasons], "Rows by broken rule", "rows", RED)
        if reasons
        else note("No row broke a rule."),
    ]


def check_deck(found: Finding) -> list[str]:
    """One hourly check: complaints, the age of each data set, the rules of the contract."""
    report = found.report
    figures = {name: getattr(report, name) for name in ("score", "landed", "quarantined")}
    rules = [
        {"rule": r.rule, "lines": r.rows, "share": r.share, "limit": r.limit, "kept": r.kept} for r in report.rules
    ]
    ages = [
        {
            "data set": one.data_set,
            "newest row (UTC)": _minute(one.newest),
            "age, hours": one.age_s / 3600,
            "promised, hours": one.limit_s / 3600,
            "kept": one.kept,
        }
        for one in found.freshness
    ]
    return [
        facts({"level": found.level.value, **figures, "up to": _minute(found.window_end)}),
        *(note(complaint) for complaint in found.complaints or ["No complaints."]),
        heading("Freshness"),
        table(ages),
        heading("Quality"),
        table(rules),
    ]


def servers_deck(heard: Sequence[Heard]) -> list[str]:
    """The newest row of each server that is pulled from, and the complaints."""
    ages = [
        {
            "source": one.source,
            "data set": one.data_set,
            "newest row (UTC)": _minute(one.newest),
            "age, hours": one.age_s / 3600,
            "limit, hours": one.limit_s / 3600,
        }
        for one in heard
    ]
    return [table(ages), *(note(one.complaint) for one in heard if one.complaint)]


def audit_deck(audited: "Entry") -> list[str]:
    """The rules of uniqueness that a table version breaks, from the ``audited`` entry."""
    findings = audited.payload["findings"]
    return [facts({"version": audited.payload["version"], "broken rules": len(findings)}), table(findings)]


def _minute(instant: str) -> str:
    return instant[:16].replace("T", " ") or "none yet"
