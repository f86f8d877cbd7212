"""The hourly look at a source; a finding that somebody has to act on fails the run, after it was shown and kept."""

from datetime import datetime, timedelta

from lake.quality.monitor import Finding, WatchRule
from lake.quality.score import QualityGate
from lake.quality.staleness import Heard, SilenceRule
from tasks.environments import cpu
from tasks.runtime import due, lake, log, publish


@cpu
def watch_source(
    source: str,
    data_set: str,
    gate: QualityGate,
    rule: WatchRule,
    kickoff: datetime,
    every_minutes: int,
    schedule: str,
) -> list[Finding]:
    """Judge what landed since the last check and how fresh everything is; fail where it is too poor or has stopped."""
    from lake.quality.monitor import check, require_sound
    from reports.charts.common import note

    here, period = lake(), timedelta(minutes=every_minutes)
    found = due(
        here,
        schedule,
        lambda window: check(here, source, data_set, window, period=period, gate=gate, rule=rule),
        kickoff=kickoff,
        every_minutes=every_minutes,
    )
    if not found:
        publish(20, "Quality check", note("An earlier run has done the work of this one, or is at it."))
    for one in found:
        _show(one)
    for one in found:
        require_sound(one)
    return found


@cpu
def watch_servers(rule: SilenceRule, kickoff: datetime, every_minutes: int, schedule: str) -> list[Heard]:
    """Look how far every server that is pulled from has come; fail where one has fallen silent."""
    from lake.quality.staleness import listen, require_heard
    from reports.charts.common import note

    here = lake()
    found = due(
        here, schedule, lambda window: listen(here, rule, window.end), kickoff=kickoff, every_minutes=every_minutes
    )
    if not found:
        publish(20, "Sources", note("An earlier run has done the work of this one, or is at it."))
    heard = [one for window in found for one in window]
    _show_heard(heard)
    require_heard(heard)
    return heard


def _show_heard(heard: list[Heard]) -> None:
    from reports.charts.common import note, table

    for one in heard:
        if one.complaint:
            log.warning("%s", one.complaint)
    ages = [
        {
            "source": one.source,
            "data set": one.data_set,
            "newest row (UTC)": one.newest[:16].replace("T", " ") or "none yet",
            "age, hours": one.age_s / 3600,
            "may be, hours": one.limit_s / 3600,
        }
        for one in heard
    ]
    if heard:
        publish(20, "Sources", table(ages), *(note(one.complaint) for one in heard if one.complaint))


def _show(found: Finding) -> None:
    from reports.charts.common import facts, heading, note, table

    for complaint in found.complaints:
        log.warning("%s: %s", found.report.data_set, complaint)
    report = found.report
    figures = {"level": found.level.value, "score": report.score, "landed": report.landed}
    rules = [
        {"rule": r.rule, "lines": r.rows, "share": r.share, "limit": r.limit, "kept": r.kept} for r in report.rules
    ]
    ages = [
        {
            "data set": one.data_set,
            "newest row (UTC)": one.newest[:16].replace("T", " ") or "none yet",
            "age, hours": one.age_s / 3600,
            "promised, hours": one.limit_s / 3600,
            "kept": one.kept,
        }
        for one in found.freshness
    ]
    publish(
        20,
        "Quality check",
        facts({**figures, "quarantined": report.quarantined, "up to": found.window_end[:16].replace("T", " ")}),
        *(note(complaint) for complaint in found.complaints or ["Nothing to complain of."]),
        heading("How fresh"),
        table(ages),
        heading("How good"),
        table(rules),
    )
