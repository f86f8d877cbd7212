"""Leases: one holder at a time under contention, and a fencing number that distinguishes the holders."""

from datetime import UTC, datetime, timedelta

import pytest

from errors import LeaseLost
from lake.lake import Lake
from lake.store.leases import Leases
from lake.store.open import open_store
from settings import Settings
from tests.lake.processes import LostReply, at_once


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["settings", "s3_settings"])
def leases(request: pytest.FixtureRequest, clock: Clock) -> Leases:
    return Leases(open_store(request.getfixturevalue(request.param)), clock)


def test_one_holder_keeps_all_others_out_until_the_lease_expires(leases: Leases, clock: Clock) -> None:
    first = leases.acquire("train/agents", "a", 60)
    assert first
    assert first.fence == 1
    assert leases.acquire("train/agents", "b", 60) is None
    clock.pass_s(61)
    second = leases.acquire("train/agents", "b", 60)
    assert second
    assert second.fence == 2


def test_renewing_keeps_the_lease_and_its_number(leases: Leases, clock: Clock) -> None:
    lease = leases.acquire("x", "a", 60)
    assert lease
    for _ in range(3):
        clock.pass_s(50)
        lease = leases.renew(lease)
        assert leases.acquire("x", "b", 60) is None
    assert lease.fence == 1
    assert lease.expires == clock.now + timedelta(seconds=60)


def test_a_lease_that_another_holder_took_cannot_be_renewed(leases: Leases, clock: Clock) -> None:
    lease = leases.acquire("x", "a", 60)
    assert lease
    clock.pass_s(61)
    assert leases.acquire("x", "b", 60)
    with pytest.raises(LeaseLost, match=r"'x'.*'a'.*fence 1"):
        leases.renew(lease)
    leases.release(lease)
    assert leases.acquire("x", "c", 60) is None


def test_a_released_lease_is_free_at_once_and_gets_a_new_number(leases: Leases) -> None:
    lease = leases.acquire("x", "a", 60)
    assert lease
    leases.release(lease)
    again = leases.acquire("x", "a", 60)
    assert again
    assert again.fence == 2


def test_a_holder_that_acquires_again_keeps_its_lease(leases: Leases) -> None:
    first, second = leases.acquire("x", "a", 60), leases.acquire("x", "a", 60)
    assert first
    assert second
    assert first.fence == second.fence == 1


def test_a_holder_whose_lease_expired_gets_a_new_number(leases: Leases, clock: Clock) -> None:
    assert leases.acquire("x", "a", 60)
    clock.pass_s(61)
    again = leases.acquire("x", "a", 60)
    assert again
    assert again.fence == 2


def test_another_process_of_the_holder_resumes_the_lease_even_after_it_expired(leases: Leases, clock: Clock) -> None:
    lease = leases.acquire("x", "a", 60)
    assert lease
    clock.pass_s(600)
    assert leases.holder("x") is None
    resumed = leases.resume("x", "a", lease.fence, 120)
    assert (resumed.fence, resumed.expires) == (1, clock.now + timedelta(seconds=120))
    assert leases.acquire("x", "b", 60) is None


def test_a_lease_that_was_released_or_taken_cannot_be_resumed(leases: Leases, clock: Clock) -> None:
    lease = leases.acquire("x", "a", 60)
    assert lease
    leases.release(lease)
    with pytest.raises(LeaseLost, match="no longer 'a''s"):
        leases.resume("x", "a", 1, 60)
    assert leases.acquire("x", "b", 60)
    with pytest.raises(LeaseLost):
        leases.resume("x", "a", 1, 60)


def test_a_lost_reply_does_not_lose_the_lease(s3_lake: Lake) -> None:
    LostReply(s3_lake.store.client, losses=1)  # type: ignore[attr-defined]
    lease = s3_lake.leases.acquire("x", "a", 60)
    assert lease
    LostReply(s3_lake.store.client, losses=1)  # type: ignore[attr-defined]
    assert s3_lake.leases.renew(lease).fence == 1


def acquire(settings: Settings, worker: int) -> int:
    lease = Leases(open_store(settings)).acquire("x", str(worker), 600)
    return lease.fence if lease else 0


def test_of_several_processes_one_acquires_the_lease(s3_settings: Settings) -> None:
    assert sorted(at_once(acquire, [(s3_settings, worker) for worker in range(4)])) == [0, 0, 0, 1]
