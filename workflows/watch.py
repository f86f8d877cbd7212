"""The hourly look at what comes in."""

from datetime import datetime

from flytekit import workflow

from lake.quality.monitor import Finding, WatchRule
from lake.quality.score import QualityGate
from lake.quality.staleness import Heard, SilenceRule
from tasks.watch import watch_servers, watch_source


@workflow
def quality_check(
    kickoff: datetime,
    every_minutes: int = 60,
    schedule: str = "check_quality_hourly",
    source: str = "agents",
    data_set: str = "processed.agent_interactions",
    gate: QualityGate = QualityGate(),
    rule: WatchRule = WatchRule(),
) -> list[Finding]:
    """Judge what landed since the last check against its contract: score, completeness, freshness.

    A broken promise is a warning. A source that stands still, or is too poor to train on, fails the run.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two fires, and between two landings.
        schedule: the launch plan's name.
        source: whose landings are judged; its ledger keeps the complaints.
        data_set: what the source lands.
        gate: scores that warn and block.
        rule: what may be how old, and what is too little to judge.
    """
    return watch_source(
        source=source,
        data_set=data_set,
        gate=gate,
        rule=rule,
        kickoff=kickoff,
        every_minutes=every_minutes,
        schedule=schedule,
    )


@workflow
def source_check(
    kickoff: datetime,
    every_minutes: int = 60,
    schedule: str = "check_sources_hourly",
    rule: SilenceRule = SilenceRule(),
) -> list[Heard]:
    """Look whether every server that is pulled from still tells something. One that has fallen silent fails the run.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two fires.
        schedule: the launch plan's name.
        rule: how long which data sets may have nothing new.
    """
    return watch_servers(rule=rule, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)
