"""From servers that measure, log and watch to rows that keep their contract."""

import functools
from datetime import datetime

from flytekit import map_task, workflow

from lake.sources.selection import Pulled, Selection
from tasks.collection import plan_chunks, pull_due, pull_span, sum_up

ABREAST = 4
"""Windows of a back-fill that are asked for at the same time: a server has others to serve."""


@workflow
def collect(kickoff: datetime, selection: Selection, every_minutes: int, schedule: str) -> list[Pulled]:
    """Pull what is new in a data set, up to the kickoff.

    Args:
        kickoff: the scheduled time.
        selection: what is asked of which servers.
        every_minutes: the time between two fires.
        schedule: the launch plan's name.
    """
    return pull_due(selection=selection, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)


@workflow
def backfill(selection: Selection, start: datetime, end: datetime, chunk_hours: int = 24) -> list[Pulled]:
    """Pull any span of the past, its windows side by side; what is in already comes to nothing.

    Args:
        selection: what is asked of which servers.
        start: of the span, included.
        end: of the span, not included.
        chunk_hours: length of a window; one pod pulls one.
    """
    chunks = plan_chunks(start=start, end=end, chunk_hours=chunk_hours)
    pulled = map_task(functools.partial(pull_span, selection=selection), concurrency=ABREAST)(chunk=chunks)
    return sum_up(pulled=pulled)
