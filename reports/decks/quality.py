"""Decks of the checks: the gate before training, the hourly checks of data and servers, the daily audit of keys."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lake.quality.monitor import CheckResult, Freshness
from lake.quality.score import QualityReport
from lake.quality.staleness import SourceFreshness
from reports.charts.common import bars
from reports.common.html import facts, fields, heading, note, table
from reports.common.ledger_text import minute
from reports.common.palette import RED

if TYPE_CHECKING:
    from lake.store.ledger import Entry


def gate_deck(report: QualityReport) -> list[str]:
    """The score of what landed since the last training, and the rows by broken rule."""
    broken = {reason.rule: reason.rows for reason in report.reasons}
    return [
        facts(fields(report, "level", "score", "landed", "duplicates")),
        bars(broken, "Rows by broken rule", "rows", RED) if broken else note("No row broke a rule."),
    ]


def check_deck(result: CheckResult) -> list[str]:
    """One hourly check: complaints, the age of each data set, the rules of the contract."""
    figures = {**fields(result, "level"), **fields(result.report, "score", "landed", "quarantined")}
    rules = [
        {"rule": rule.rule, "lines": rule.rows, **fields(rule, "share", "limit", "kept")}
        for rule in result.report.rules
    ]
    return [
        facts({**figures, "up to": minute(result.window_end)}),
        *(note(complaint) for complaint in result.complaints or ["No complaints."]),
        heading("Freshness"),
        table([{**_age(age, "promised"), "kept": age.kept} for age in result.freshness]),
        heading("Quality"),
        table(rules),
    ]


def servers_deck(checked: Sequence[SourceFreshness]) -> list[str]:
    """The newest row of each server that is pulled from, and the complaints."""
    ages = [{"source": age.source, **_age(age, "limit")} for age in checked]
    return [table(ages), *(note(age.complaint) for age in checked if age.complaint)]


def _age(age: Freshness | SourceFreshness, limit: str) -> dict[str, object]:
    return {
        "data set": age.data_set,
        "newest row (UTC)": minute(age.newest) if age.newest else "none yet",
        "age, hours": age.age_s / 3600,
        f"{limit}, hours": age.limit_s / 3600,
    }


def audit_deck(audited: "Entry") -> list[str]:
    """The rules of uniqueness that a table version breaks, from the ``audited`` entry."""
    findings = audited.payload["findings"]
    return [facts({"version": audited.payload["version"], "broken rules": len(findings)}), table(findings)]
