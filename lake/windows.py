"""Scheduled work, done once however late and however often its schedule fires.

A scheduler that was down delivers every fire it missed, hundreds at once, each with the time it should have come: its
kickoff. The work window of a run is [watermark, kickoff). The first late fire does the work of all, up to the newest
period boundary that has passed; the others find the watermark at or past their kickoff and do nothing.

How far a schedule has come is read from its chain ``schedules/<name>`` in the ledger, one small entry a window. A lease
keeps two runs from the same window at the same time. It saves work and guards nothing: what is done in a window has to
be keyed by the window's end, so that a run which was killed just before its entry, or two after a lease ran out, leave
one result.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from errors import UserError
from lake.lake import Lake
from lake.store.ledger import Entry

log = logging.getLogger("fuelline.windows")

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Where the first window of a schedule starts."""
SKEW = timedelta(minutes=5)
"""How far a kickoff may be ahead of this machine's clock."""
LEASE_S = 3600.0
"""As long as a task may take: it does not run out under a run that lives, and a dead run's is free an hour later."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The time whose work is due: ``start`` included, ``end`` not (UTC)."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"a window ends after it starts, not from {self.start} to {self.end}")


def window(watermark: datetime | None, kickoff: datetime, now: datetime, period: timedelta) -> Window | None:
    """What a fire has to do: from the watermark to the newest ``kickoff + n * period`` that has passed, or nothing.

    Args:
        watermark: end of the last window that was done; None before the first.
        kickoff: when the fire should have come.
        now: the clock's time.
        period: time from one fire to the next.

    Raises:
        UserError: the kickoff lies in the future: that work would never be done by the fires that are yet to come.
    """
    if kickoff > now + SKEW:
        raise UserError(f"kickoff {kickoff.isoformat()} lies in the future; it is {now.isoformat(timespec='seconds')}")
    if watermark is not None and watermark >= kickoff:
        return None
    return Window(start=watermark or BEGINNING, end=kickoff + max(0, (now - kickoff) // period) * period)


def watermark(lake: Lake, schedule: str) -> datetime | None:
    """How far a schedule has come: the newest end of its windows, None before the first."""
    return max((_window(entry).end for entry in lake.ledger.entries(_chain(schedule))), default=None)


def catch_up(
    lake: Lake,
    schedule: str,
    work: Callable[[Window], T],
    *,
    kickoff: datetime,
    period: timedelta,
    run: str,
    lease_s: float = LEASE_S,
) -> list[T]:
    """Do what is due by ``kickoff``; returns what ``work`` returned, nothing where another run has done it or is at it.

    A boundary that passes while the work goes on is worked as well, because its fire found the lease taken. A run that
    was killed after it had done a window, but before anybody took its result, gets the same window again.

    Args:
        lake: whose ledger and clock count.
        schedule: the launch plan's name.
        work: does one window. Keyed by the window's end: it may be called again for a window that is done.
        kickoff: the scheduled time of this fire.
        period: from one fire to the next.
        run: this run's name, the same when it is tried again.
        lease_s: how long a dead run's claim stands; longer than the work takes.

    Raises:
        UserError: the kickoff lies in the future.
    """
    chain, clock, mine = _chain(schedule), lake.ledger.clock, (run, kickoff.isoformat())
    before = [e for e in lake.ledger.entries(chain) if (e.payload["run"], e.payload["kickoff"]) == mine]
    results = [work(_window(entry)) for entry in before]
    fire = kickoff
    while window(watermark(lake, schedule), fire, clock(), period):
        if not (lease := lake.leases.acquire(chain, run, lease_s)):
            log.info("%s: another run is at it", schedule)
            break
        try:
            due = window(watermark(lake, schedule), fire, clock(), period)  # another may have been quicker
            if due is None:
                break
            log.info("%s: up to %s", schedule, due.end.isoformat(timespec="seconds"))
            results.append(work(due))
            told = {"start": due.start.isoformat(), "end": due.end.isoformat(), "run": run, "kickoff": mine[1]}
            lake.ledger.append(chain, "done", f"until:{told['end']}", told)
        finally:
            lake.leases.release(lease)
        fire = due.end + period
        if fire > clock():
            break
    return results


def _chain(schedule: str) -> str:
    return f"schedules/{schedule}"


def _window(entry: Entry) -> Window:
    return Window(
        start=datetime.fromisoformat(entry.payload["start"]), end=datetime.fromisoformat(entry.payload["end"])
    )
