"""Collection: rows that satisfy their contract, pulled from metrics, log, event and trace servers."""

import functools
from datetime import datetime

from flytekit import map_task, workflow

from lake.sources.selection import Pulled, Selection
from tasks.collection import plan_chunks, pull_due, pull_span, sum_up


@workflow
def collect(kickoff: datetime, selection: Selection, every_minutes: int, schedule: str) -> list[Pulled]:
    """Pull the new rows of a data set, up to the kickoff.

    Args:
        kickoff: the scheduled time.
        selection: the queries, and the servers to send them to.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
    """
    return pull_due(selection=selection, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)


@workflow
def backfill(selection: Selection, start: datetime, end: datetime, chunk_hours: int = 24) -> list[Pulled]:
    """Pull any span of the past, several windows at a time; what is already in the lake is not added again.

    Args:
        selection: the queries, and the servers to send them to.
        start: start of the span, inclusive.
        end: end of the span, exclusive.
        chunk_hours: length of a window; each pod pulls one.
    """
    chunks = plan_chunks(start=start, end=end, chunk_hours=chunk_hours)
    # Four windows at the same time, so that a server has capacity left for others.
    pulled = map_task(functools.partial(pull_span, selection=selection), concurrency=4)(chunk=chunks)
    return sum_up(pulled=pulled)
