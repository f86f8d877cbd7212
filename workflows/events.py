"""From the broker's events to rows that keep their contract."""

from datetime import datetime

from flytekit import workflow

from tasks.events import drain_due


@workflow
def scheduled_events(
    kickoff: datetime, every_minutes: int = 15, schedule: str = "drain_events", minutes: int = 10
) -> list[int]:
    """Bring in the CloudEvents that wait at `FUELLINE_RABBITMQ`.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two fires.
        schedule: the launch plan's name.
        minutes: how long a run may drain; it ends earlier where the queue is empty.
    """
    return drain_due(minutes=minutes, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)
