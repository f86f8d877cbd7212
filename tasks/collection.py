"""Collection: what servers measured, wrote and saw becomes rows, on a schedule or for any span of the past.

The tokens of the servers are mounted into these tasks and into no others.
"""

from datetime import datetime, timedelta

from flytekit import Secret

from lake.sources.selection import Pulled, Selection
from lake.windows import Window
from settings import PEERS
from tasks.environments import CREDENTIALS, SECRETS, cpu
from tasks.runtime import due, lake, publish, publish_nothing_due

TOKENS = [
    Secret(group=CREDENTIALS, key=name, env_var=name, mount_requirement=Secret.MountType.ENV_VAR)
    for name in (f"FUELLINE_{peer.upper()}_TOKEN" for peer in PEERS)
]
collector = cpu.extend(secret_requests=[*SECRETS, *TOKENS])
"""Beside what every task may know, the bearer tokens of the servers."""


@collector
def pull_due(selection: Selection, kickoff: datetime, every_minutes: int, schedule: str) -> list[Pulled]:
    """Pull what a schedule's window holds, once; empty where an earlier run has done it."""
    from lake.sources.pull import pull_window
    from reports.decks.ingestion import collection_deck

    here = lake()
    windows = due(
        here,
        schedule,
        lambda window: pull_window(here, selection, window),
        kickoff=kickoff,
        every_minutes=every_minutes,
    )
    done = [one for window in windows for one in window]
    if done:
        publish(10, "Collection", *collection_deck(done))
    else:
        publish_nothing_due(10, "Collection")
    return done


@collector(enable_deck=False)
def plan_chunks(start: datetime, end: datetime, chunk_hours: int) -> list[Window]:
    """A span as windows that part at whole multiples of their length, so that two overlapping back-fills part alike."""
    from errors import UserError
    from lake.sources.pull import chunks

    if chunk_hours < 1 or not start < end:
        raise UserError(f"start={start} is to lie before end={end}, and chunk_hours={chunk_hours} to be 1 or more")
    return list(chunks(start, end, timedelta(hours=chunk_hours)))


@collector(enable_deck=False)
def pull_span(chunk: Window, selection: Selection) -> list[Pulled]:
    """Pull one window of a back-fill; one that is done costs a look at the ledger."""
    from lake.sources.pull import pull_chunk

    return pull_chunk(lake(), selection, chunk)


@collector
def sum_up(pulled: list[list[Pulled]]) -> list[Pulled]:
    """The whole back-fill in one list, and one deck."""
    from reports.decks.ingestion import collection_deck

    done = [one for chunk in pulled for one in chunk]
    publish(10, "Collection", *collection_deck(done))
    return done
