"""Events: messages in the broker's queue become rows, for a limited time in each scheduled run."""

from datetime import datetime

from tasks.environments import EVENT_PODS, SECRETS, cpu, secrets
from tasks.runtime import due, publish, task_lake

EVENTS = (10, "Events")
with_broker = cpu.extend(secret_requests=[*SECRETS, *secrets("FUELLINE_RABBITMQ")], pod_template_name=EVENT_PODS)
"""Also has the broker's address, which contains a password."""


@with_broker
def drain_due(minutes: int, kickoff: datetime, every_minutes: int, schedule: str) -> list[int]:
    """Ingest the lake's queue until it is empty or the minutes are over, once per window.

    The rest waits for the next run: a message is acknowledged only after its rows are committed.

    Returns:
        The number of acknowledged messages, one for each window.
    """
    from lake.sources.broker import StopCondition
    from lake.sources.events import drain
    from reports.common.html import facts

    lake, stop = task_lake("rabbitmq"), StopCondition(seconds=60 * minutes, empty=True)
    drained = due(lake, schedule, kickoff, every_minutes, EVENTS, lambda _: drain(lake, stop))
    if drained:
        publish(*EVENTS, facts({"messages": sum(drained)}))
    return drained
