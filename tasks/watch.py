"""The hourly look at a source; a finding that somebody has to act on fails the run, after it was shown and kept."""

from datetime import datetime, timedelta

from lake.quality.monitor import Finding, WatchRule
from lake.quality.score import QualityGate
from lake.quality.staleness import Heard, SilenceRule
from tasks.environments import cpu
from tasks.runtime import due, lake, log, publish, publish_nothing_due


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
    from reports.decks.quality import check_deck

    here, period = lake(), timedelta(minutes=every_minutes)
    found = due(
        here,
        schedule,
        lambda window: check(here, source, data_set, window, period=period, gate=gate, rule=rule),
        kickoff=kickoff,
        every_minutes=every_minutes,
    )
    if not found:
        publish_nothing_due(20, "Quality check")
    for finding in found:
        for complaint in finding.complaints:
            log.warning("%s: %s", finding.report.data_set, complaint)
        publish(20, "Quality check", *check_deck(finding))
    for finding in found:
        require_sound(finding)
    return found


@cpu
def watch_servers(rule: SilenceRule, kickoff: datetime, every_minutes: int, schedule: str) -> list[Heard]:
    """Look how far every server that is pulled from has come; fail where one has fallen silent."""
    from lake.quality.staleness import listen, require_heard
    from reports.decks.quality import servers_deck

    here = lake()
    found = due(
        here, schedule, lambda window: listen(here, rule, window.end), kickoff=kickoff, every_minutes=every_minutes
    )
    if not found:
        publish_nothing_due(20, "Sources")
    heard = [one for window in found for one in window]
    for one in heard:
        if one.complaint:
            log.warning("%s", one.complaint)
    if heard:
        publish(20, "Sources", *servers_deck(heard))
    require_heard(heard)
    return heard
