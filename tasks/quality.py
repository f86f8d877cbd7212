"""Quality: the gate before training, the hourly checks of data and servers, and the daily audit of unique keys.

A finding that needs action fails the run, after it was shown and recorded.
"""

import functools
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pandera.pandas as pandera
from pandera.typing.pandas import DataFrame, Series

from lake.quality.monitor import CheckResult, MonitoringPolicy
from lake.quality.score import QualityGate, QualityReport
from lake.quality.staleness import SourceFreshness, StalenessPolicy
from models.retraining.pin import Pinned
from tasks.environments import cpu
from tasks.runtime import due, log, publish, task_lake

if TYPE_CHECKING:
    from lake.store.ledger import Entry

CHECK, SERVERS, AUDIT = (20, "Quality check"), (20, "Sources"), (90, "Audit")


class QualityByRule(pandera.DataFrameModel):
    """One row for each rule of the contract and each reason for quarantine."""

    rule: Series[str]
    rows: Series[int] = pandera.Field(ge=0)
    share: Series[float] = pandera.Field(ge=0, le=1)
    limit: Series[float] = pandera.Field(ge=0, le=1)
    kept: Series[bool]


class CheckedQuality(NamedTuple):
    """The report, and its rules as a frame for the console."""

    report: QualityReport
    rules: DataFrame[QualityByRule]


class RepeatedKeys(pandera.DataFrameModel):
    """One row for each violated uniqueness rule."""

    reason: str
    keys: int = pandera.Field(ge=1)
    rows: int = pandera.Field(ge=2)


@cpu
def check_quality(pinned: Pinned, source: str, gate: QualityGate) -> CheckedQuality:
    """Score the data that landed since the last training; a score below ``gate.block_below`` fails the retraining."""
    import pandas as pd
    from flytekitplugins.deck.renderer import TableRenderer

    from lake.quality.score import require_quality
    from models.retraining.pin import quality_since_training
    from reports.decks.quality import gate_deck

    report = quality_since_training(task_lake(), pinned, source, gate)
    names = ("rule", "rows", "share", "limit", "kept")
    frame = pd.DataFrame({name: [getattr(rule, name) for rule in report.rules] for name in names})
    rules = frame.astype({"rows": "int64", "share": "float64", "limit": "float64", "kept": "bool"})
    publish(20, "Quality", *gate_deck(report), TableRenderer().to_html(rules))
    require_quality(report, gate)
    return CheckedQuality(report, DataFrame[QualityByRule](rules))


@cpu
def watch_source(
    source: str,
    data_set: str,
    gate: QualityGate,
    rule: MonitoringPolicy,
    kickoff: datetime,
    every_minutes: int,
    schedule: str,
) -> list[CheckResult]:
    """Check what landed since the last check and the age of all data; fail where quality is too low or data stopped."""
    from lake.quality.monitor import check, require_acceptable
    from reports.decks.quality import check_deck

    lake, period = task_lake(), timedelta(minutes=every_minutes)
    run_check = functools.partial(check, lake, source, data_set, period=period, gate=gate, rule=rule)
    findings = due(lake, schedule, kickoff, every_minutes, CHECK, run_check)
    for finding in findings:
        for complaint in finding.complaints:
            log.warning("%s: %s", finding.report.data_set, complaint)
        publish(*CHECK, *check_deck(finding))
    for finding in findings:
        require_acceptable(finding)
    return findings


@cpu
def watch_servers(rule: StalenessPolicy, kickoff: datetime, every_minutes: int, schedule: str) -> list[SourceFreshness]:
    """Check the age of the newest row from each server that is pulled from; fail where one is stale."""
    from lake.quality.staleness import check_sources, require_fresh
    from reports.decks.quality import servers_deck

    lake = task_lake()
    checks = due(lake, schedule, kickoff, every_minutes, SERVERS, lambda window: check_sources(lake, rule, window.end))
    servers = [server for check in checks for server in check]
    for complaint in filter(None, (server.complaint for server in servers)):
        log.warning("%s", complaint)
    if servers:
        publish(*SERVERS, *servers_deck(servers))
    require_fresh(servers)
    return servers


@cpu
def audit_uniqueness(data_set: str, source: str) -> DataFrame[RepeatedKeys]:
    """Find keys that more than one row of the newest version has, and record them in the source's ledger."""
    from lake.quality.audit import audit_newest

    return _audited(audit_newest(task_lake(), data_set, source))


@cpu
def audit_due(
    data_set: str, source: str, kickoff: datetime, every_minutes: int, schedule: str
) -> list[DataFrame[RepeatedKeys]]:
    """The same, once per window; empty if an earlier run has done it."""
    from lake.quality.audit import audit_newest

    lake = task_lake()
    entries = due(lake, schedule, kickoff, every_minutes, AUDIT, lambda _: audit_newest(lake, data_set, source))
    return [_audited(entry) for entry in entries]


def _audited(entry: "Entry") -> DataFrame[RepeatedKeys]:
    import pandas as pd

    from reports.decks.quality import audit_deck

    publish(*AUDIT, *audit_deck(entry))
    frame = pd.DataFrame(entry.payload["findings"], columns=["reason", "keys", "rows"])
    return DataFrame[RepeatedKeys](frame.astype({"keys": "int64", "rows": "int64"}))
