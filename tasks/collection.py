"""Collection: rows from metrics, log, event, trace and GitHub servers, on a schedule or for any span of the past.

Only these tasks have the servers' tokens.
"""

from datetime import datetime, timedelta

from lake.sources.selection import Pulled, Selection
from lake.windows import Window
from settings import PEERS
from tasks.environments import OUTSIDE_PODS, SECRETS, cpu, secrets
from tasks.runtime import due, publish, task_lake

COLLECTION = (10, "Collection")
TOKENS = secrets(*(f"FUELLINE_{peer.upper()}_TOKEN" for peer in PEERS))
"""The bearer tokens of the servers."""
collector = cpu.extend(secret_requests=[*SECRETS, *TOKENS], pod_template_name=OUTSIDE_PODS)


@collector
def pull_due(selection: Selection, kickoff: datetime, every_minutes: int, schedule: str) -> list[Pulled]:
    """Pull the data of a schedule's window, once; empty if an earlier run has done it."""
    from lake.sources.pull import pull_window

    lake = task_lake()
    when = (schedule, kickoff, every_minutes)
    windows = due(lake, *when, COLLECTION, lambda window: pull_window(lake, selection, window))
    return _shown([pulled for window in windows for pulled in window])


@collector(enable_deck=False)
def plan_chunks(start: datetime, end: datetime, chunk_hours: int) -> list[Window]:
    """Split a span at whole multiples of the chunk's length, so that overlapping back-fills have equal windows."""
    from errors import UserError
    from lake.sources.pull import chunks

    if chunk_hours < 1 or not start < end:
        raise UserError(f"start={start} must be before end={end}, and chunk_hours={chunk_hours} must be 1 or more")
    return list(chunks(start, end, timedelta(hours=chunk_hours)))


@collector(enable_deck=False)
def pull_span(chunk: Window, selection: Selection) -> list[Pulled]:
    """Pull one window of a back-fill; for a window that is done this only reads the ledger."""
    from lake.sources.pull import pull_chunk

    return pull_chunk(task_lake(), selection, chunk)


@collector
def sum_up(pulled: list[list[Pulled]]) -> list[Pulled]:
    """The results of the whole back-fill in one list and one deck."""
    return _shown([part for chunk in pulled for part in chunk])


def _shown(pulled: list[Pulled]) -> list[Pulled]:
    from reports.decks.ingestion import collection_deck

    if pulled:
        publish(*COLLECTION, *collection_deck(pulled))
    return pulled
