"""The audit of a data set, for every day's schedule."""

from datetime import datetime

from flytekit import workflow
from pandera.typing.pandas import DataFrame

from tasks.audit import RepeatedKeys, audit_due, audit_uniqueness


@workflow
def audit(data_set: str = "processed.agent_interactions", source: str = "agents") -> DataFrame[RepeatedKeys]:
    """Find what a data set holds more than once.

    Args:
        data_set: whose newest version is read.
        source: whose ledger the finding goes into.
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
    """Find what a data set holds more than once, on days further apart than a commit compares.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two fires.
        schedule: the launch plan's name.
        data_set: whose newest version is read.
        source: whose ledger the finding goes into.
    """
    return audit_due(data_set=data_set, source=source, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)
