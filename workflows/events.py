"""Events: rows that satisfy their contract, from the broker's queue."""

from datetime import datetime

from flytekit import workflow

from tasks.events import drain_due


@workflow
def scheduled_events(
    kickoff: datetime, every_minutes: int = 15, schedule: str = "drain_events", minutes: int = 10
) -> list[int]:
    """Ingest the CloudEvents that wait in the queue at `FUELLINE_RABBITMQ`.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        minutes: how long a run may read; it ends earlier when the queue is empty.
    """
    return drain_due(minutes=minutes, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)
