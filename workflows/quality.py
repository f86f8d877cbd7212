"""Quality: an hourly check of what landed and of every source's freshness, and a daily audit of unique keys."""

from datetime import datetime

from flytekit import workflow
from pandera.typing.pandas import DataFrame

from lake.quality.monitor import CheckResult, MonitoringPolicy
from lake.quality.score import QualityGate
from lake.quality.staleness import SourceFreshness, StalenessPolicy
from tasks.quality import RepeatedKeys, audit_due, audit_uniqueness, watch_servers, watch_source


@workflow
def quality_check(
    kickoff: datetime,
    every_minutes: int = 60,
    schedule: str = "check_quality_hourly",
    source: str = "agents",
    data_set: str = "processed.agent_interactions",
    gate: QualityGate = QualityGate(),
    rule: MonitoringPolicy = MonitoringPolicy(),
) -> list[CheckResult]:
    """Check what landed since the last check against its contract: score, completeness, freshness.

    A violated limit of the contract is a warning. A source that has stopped, or that is too poor to train on, fails
    the run.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs, and between two landings.
        schedule: the launch plan's name.
        source: whose ledger keeps the findings.
        data_set: whose landings, from any source, are checked.
        gate: scores that warn and block.
        rule: how old data may be, and how few rows are too few to score.
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
    rule: StalenessPolicy = StalenessPolicy(),
) -> list[SourceFreshness]:
    """Check that every server that data are pulled from still has new data. A stale source fails the run.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        rule: how long each data set may have nothing new.
    """
    return watch_servers(rule=rule, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)


@workflow
def audit(data_set: str = "processed.agent_interactions", source: str = "agents") -> DataFrame[RepeatedKeys]:
    """Find keys that a data set holds more than once.

    Args:
        data_set: whose newest version is read.
        source: whose ledger gets the findings.
    """
    return audit_uniqueness(data_set=data_set, source=source)


@workflow
def scheduled_audit(
    kickoff: datetime,
    every_minutes: int = 1440,
    schedule: str = "audit_daily",
    data_set: str = "processed.agent_interactions",
    source: str = "agents",
) -> list[DataFrame[RepeatedKeys]]:
    """Find keys that a data set holds more than once, on days further apart than a commit compares.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        data_set: whose newest version is read.
        source: whose ledger gets the findings.
    """
    return audit_due(data_set=data_set, source=source, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)
