"""Scheduled work that is done once, however late and however often its schedule fires.

A scheduler that was down delivers every fire that it missed, hundreds at once, each with its scheduled time, the
*kickoff*. The work window of a run is [watermark, kickoff). The first late fire does the work of all, up to the newest
period boundary that has passed; the others find the watermark at or past their kickoff and do nothing.

The watermark comes from the chain ``schedules/<name>`` in the ledger, which has one entry per window. A lease keeps
two runs from working on the same window at the same time. It only saves work: results must be keyed by the window's
end, so that a run that was killed just before its entry, or two runs after a lease expired, leave one result.
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
"""Longer than a task may take, so it does not expire under a live run; a dead run's lease is free an hour later."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A span of time (UTC), ``start`` included, ``end`` excluded."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"a window must end after it starts, not run from {self.start} to {self.end}")


def window(watermark: datetime | None, kickoff: datetime, now: datetime, period: timedelta) -> Window | None:
    """The window that a fire has to work on: from the watermark to the newest ``kickoff + n * period`` that has passed;
    None where the work is done.

    Raises ``UserError`` where the kickoff is in the future: working on it now would leave nothing for earlier fires.
    """
    if kickoff > now + SKEW:
        raise UserError(f"kickoff {kickoff.isoformat()} is in the future; now is {now.isoformat(timespec='seconds')}")
    if watermark is not None and watermark >= kickoff:
        return None
    return Window(start=watermark or BEGINNING, end=kickoff + max(0, (now - kickoff) // period) * period)


def watermark(lake: Lake, schedule: str) -> datetime | None:
    """The end of a schedule's newest window; None before the first."""
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
    """Do the work that is due by ``kickoff``.

    When a period boundary passes during the work, its window is worked on too, because its fire found the lease taken.
    A run that is retried gets again the windows that it had finished, so that their results are returned.

    Args:
        lake: its ledger holds the watermark, its clock decides.
        schedule: the launch plan's name.
        work: does one window. Its result is keyed by the window's end: it may be called twice for one window.
        kickoff: the scheduled time of this fire; ``UserError`` where it is in the future.
        period: time from one fire to the next.
        run: this run's name, the same for each retry.
        lease_s: how long the lease of a dead run stays; longer than the work takes.

    Returns:
        The results of ``work``; empty where another run has done the work or is doing it.
    """
    chain, clock, this_run = _chain(schedule), lake.ledger.clock, (run, kickoff.isoformat())
    finished = [e for e in lake.ledger.entries(chain) if (e.payload["run"], e.payload["kickoff"]) == this_run]
    results = [work(_window(entry)) for entry in finished]
    fire = kickoff
    while window(watermark(lake, schedule), fire, clock(), period):
        if not (lease := lake.leases.acquire(chain, run, lease_s)):
            log.info("%s: another run is working on it", schedule)
            break
        try:
            due = window(watermark(lake, schedule), fire, clock(), period)  # another run may have been first
            if due is None:
                break
            log.info("%s: up to %s", schedule, due.end.isoformat(timespec="seconds"))
            results.append(work(due))
            payload = {"start": due.start.isoformat(), "end": due.end.isoformat(), "run": run, "kickoff": this_run[1]}
            lake.ledger.append(chain, "done", f"until:{payload['end']}", payload)
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
