"""Events: what waits at the broker becomes rows, a bounded time at each fire of a schedule."""

from datetime import datetime

from flytekit import Secret

from tasks.environments import CREDENTIALS, SECRETS, cpu
from tasks.runtime import due, lake, publish, publish_nothing_due

BROKER = "FUELLINE_RABBITMQ"

beside_broker = cpu.extend(
    secret_requests=[
        *SECRETS,
        Secret(group=CREDENTIALS, key=BROKER, env_var=BROKER, mount_requirement=Secret.MountType.ENV_VAR),
    ]
)
"""Knows the broker's address as well, which holds a password."""


@beside_broker
def drain_due(minutes: int, kickoff: datetime, every_minutes: int, schedule: str) -> list[int]:
    """Drain the lake's queue until it is empty or the minutes are over, once a window; the messages acknowledged.

    What is left over waits for the next fire: a message is acknowledged after its commit and not before.
    """
    from lake.sources.broker import Until
    from lake.sources.events import drain
    from reports.common.html import facts

    here = lake("rabbitmq")
    done = due(
        here,
        schedule,
        lambda _: drain(here, Until(seconds=60 * minutes, empty=True)),
        kickoff=kickoff,
        every_minutes=every_minutes,
    )
    if done:
        publish(10, "Events", facts({"messages in": sum(done)}))
    else:
        publish_nothing_due(10, "Events")
    return done
