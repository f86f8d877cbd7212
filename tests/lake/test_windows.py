"""Windows of scheduled work: each instant is done once, with late, doubled, killed and concurrent fires."""

import threading
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import UserError
from lake.lake import Lake, open_lake
from lake.windows import BEGINNING, Window, catch_up, watermark, window
from settings import Settings
from tests.lake.processes import at_once

HOUR = timedelta(hours=1)
FIRST = datetime(2026, 11, 1, 0, 15, tzinfo=UTC)
FIRES = [FIRST + number * HOUR for number in range(500)]
NOW = FIRES[-1] + timedelta(minutes=7)


class Clock:
    """A clock that a test sets. May be sent to another process."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lake(settings: Settings, clock: Clock) -> Lake:
    return open_lake(settings, clock=clock)


def fire(lake: Lake, kickoff: datetime, run: str = "run", done: list[Window] | None = None) -> list[Window]:
    """One fire of an hourly schedule whose work records its window under the end of the window."""

    def work(due: Window) -> Window:
        if done is not None:
            done.append(due)
        lake.ledger.append("work", "worked", f"{due.end}", {"from": f"{due.start}", "run": run})
        return due

    return catch_up(lake, "hourly", work, kickoff=kickoff, period=HOUR, run=run)


@given(
    late=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 7000)), max_size=60),
    period=st.sampled_from([timedelta(minutes=10), HOUR, timedelta(days=1)]),
)
def test_windows_have_no_gap_or_overlap_and_cover_every_fire(late: list[tuple[int, int]], period: timedelta) -> None:
    done: datetime | None = None
    now = FIRST
    for number, seconds in late:
        now += timedelta(seconds=seconds)
        kickoff = min(FIRST + number * period, FIRST + (now - FIRST) // period * period)
        due = window(done, kickoff, now, period)
        if due:
            assert due.start == (done or BEGINNING)
            assert due.end <= now < due.end + period
            assert (due.end - FIRST) % period == timedelta(0)
            done = due.end
        assert done is not None
        assert done >= kickoff


def test_a_kickoff_a_little_ahead_of_the_clock_is_accepted() -> None:
    assert window(None, FIRST, FIRST - timedelta(seconds=3), HOUR) == Window(start=BEGINNING, end=FIRST)


def test_a_kickoff_in_the_future_is_refused() -> None:
    with pytest.raises(UserError, match=r"2026-11-01T00:15:00\+00:00 is in the future"):
        window(None, FIRST, FIRST - HOUR, HOUR)


def test_the_first_of_many_late_fires_does_all_the_work(lake: Lake) -> None:
    order = Random(3).sample(FIRES, len(FIRES))
    results = [fire(lake, kickoff, run=f"r{number}") for number, kickoff in enumerate(order)]
    assert results[0] == [Window(start=BEGINNING, end=FIRES[-1])]
    assert not any(results[1:])
    assert watermark(lake, "hourly") == FIRES[-1]
    assert len(lake.ledger.entries("schedules/hourly")) == 1


def _some_of_the_fires(settings: Settings, number: int) -> int:
    lake = open_lake(settings, clock=Clock())
    order = Random(number).sample(FIRES[number::8], len(FIRES[number::8]))
    return sum(len(fire(lake, kickoff, run=f"{number}-{kickoff}")) for kickoff in order)


def test_late_fires_in_eight_concurrent_processes_do_the_work_once(settings: Settings) -> None:
    assert sum(at_once(_some_of_the_fires, [(settings, number) for number in range(8)])) == 1
    lake = open_lake(settings, clock=Clock())
    [done] = lake.ledger.entries("schedules/hourly")
    assert done.payload["end"] == FIRES[-1].isoformat()
    assert len(lake.ledger.entries("work")) == 1


def test_late_fires_in_eight_concurrent_threads_do_the_work_once(s3_settings: Settings) -> None:
    counts: list[int] = []

    def some(number: int) -> None:
        lake = open_lake(s3_settings, clock=Clock())
        counts.extend(len(fire(lake, kickoff, run=f"{number}-{kickoff}")) for kickoff in FIRES[-8 - number :: -50])

    threads = [threading.Thread(target=some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 1
    assert len(open_lake(s3_settings).ledger.entries("work")) == 1


def test_each_fire_in_time_does_its_own_window(lake: Lake, clock: Clock) -> None:
    for number in range(3):
        clock.now = FIRES[number] + timedelta(seconds=20)
        assert len(fire(lake, FIRES[number], run=f"r{number}")) == 1
    ends = [entry.payload["end"] for entry in lake.ledger.entries("schedules/hourly")]
    assert ends == [kickoff.isoformat() for kickoff in FIRES[:3]]


def test_work_that_fails_is_left_to_the_next_fire(lake: Lake) -> None:
    def fails(due: Window) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        catch_up(lake, "hourly", fails, kickoff=FIRES[0], period=HOUR, run="a")
    assert watermark(lake, "hourly") is None
    assert len(fire(lake, FIRES[1], run="b")) == 1


def test_only_the_retry_of_a_run_gets_its_finished_window_again(lake: Lake) -> None:
    first = fire(lake, FIRES[3], run="a")
    assert fire(lake, FIRES[3], run="a") == first
    assert fire(lake, FIRES[3], run="b") == []
    assert len(lake.ledger.entries("work")) == len(lake.ledger.entries("schedules/hourly")) == 1


def test_a_dead_run_blocks_the_others_until_its_lease_expires(lake: Lake, clock: Clock) -> None:
    assert lake.leases.acquire("schedules/hourly", "dead", 3600)
    assert fire(lake, FIRES[-1], run="b") == []
    clock.now += timedelta(seconds=3601)
    assert [due.end for due in fire(lake, FIRES[-1], run="b")] == [FIRES[-1] + HOUR]


def test_a_boundary_that_passes_during_the_work_is_done_by_the_same_run(
    lake: Lake, settings: Settings, clock: Clock
) -> None:
    other: list[list[Window]] = []

    def slow(due: Window) -> datetime:
        if not other:
            clock.now = FIRES[-1] + HOUR + timedelta(minutes=1)
            other.append(fire(open_lake(settings, clock=clock), FIRES[-1] + HOUR, run="skipped"))
        return due.end

    ends = catch_up(lake, "hourly", slow, kickoff=FIRES[-1], period=HOUR, run="slow")
    assert other == [[]]
    assert ends == [FIRES[-1], FIRES[-1] + HOUR]


def test_two_runs_after_an_expired_lease_leave_the_newer_watermark(
    lake: Lake, settings: Settings, clock: Clock
) -> None:
    def overtaken(due: Window) -> None:
        clock.now += timedelta(hours=2)
        fire(open_lake(settings, clock=clock), FIRES[-1] + 2 * HOUR, run="quick")

    catch_up(lake, "hourly", overtaken, kickoff=FIRES[-1], period=HOUR, run="slow")
    assert watermark(lake, "hourly") == FIRES[-1] + 2 * HOUR


def test_schedules_are_independent(lake: Lake) -> None:
    def nothing(due: Window) -> datetime:
        return due.end

    fire(lake, FIRES[0])
    assert catch_up(lake, "daily", nothing, kickoff=FIRES[0], period=timedelta(days=1), run="d")
    assert lake.ledger.chains("schedules/") == ["schedules/daily", "schedules/hourly"]
