"""One training of a model at a time: which run has the claim, and what a run without it may still do."""

import json
import time
from datetime import timedelta

import pytest

from errors import LeaseLost
from lake.lake import Lake, open_lake
from models.registry import training_lease
from models.registry.kinds import model_chain
from models.registry.training_lease import LEASE_S, claim, fenced, holding_lease, lease_holder, release
from settings import Settings
from tests.lake.processes import at_once
from tests.lake.store.test_leases import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lake(settings: Settings, clock: Clock) -> Lake:
    return open_lake(settings, clock=clock)


def test_a_model_is_claimed_by_one_run_and_released(lake: Lake) -> None:
    first = claim(lake, "agents", "run-1")
    assert (first.granted, first.fence) == (True, 1)
    assert not claim(lake, "agents", "run-2").granted
    assert claim(lake, "other", "run-2").granted
    release(lake, "agents", "run-2")
    assert not claim(lake, "agents", "run-2").granted
    release(lake, "agents", "run-1")
    assert lease_holder(lake, "agents") is None
    assert claim(lake, "agents", "run-2").fence == 2


def test_a_stage_takes_the_lease_over_from_the_stage_before(lake: Lake, clock: Clock) -> None:
    mine = claim(lake, "agents", "run-1", patience_s=6 * 3600)
    clock.pass_s(5 * 3600)
    with holding_lease(lake, mine):
        held = lease_holder(lake, "agents")
        assert held
        assert held.expires - clock.now == timedelta(seconds=LEASE_S)
    held = lease_holder(lake, "agents")
    assert held
    assert (held.fence, held.expires - clock.now) == (1, timedelta(hours=6))


def test_a_run_that_is_too_late_loses_the_lease_and_cannot_write_any_more(lake: Lake, clock: Clock) -> None:
    mine = claim(lake, "agents", "run-1")
    fenced(lake, mine).ledger.append(model_chain("agents"), "retraining_opened", "a", {"retraining": "a"})
    clock.pass_s(LEASE_S + 1)
    theirs = claim(lake, "agents", "run-2")
    assert theirs.fence == 2
    fenced(lake, mine).ledger.append(
        model_chain("agents"), "trained_late", "b", {}
    )  # there is no entry with fence 2 yet
    fenced(lake, theirs).ledger.append(model_chain("agents"), "retraining_opened", "c", {"retraining": "c"})
    with pytest.raises(LeaseLost, match="under lease 1, because lease 2 has written since"):
        fenced(lake, mine).ledger.append(model_chain("agents"), "promoted", "d", {})
    with pytest.raises(LeaseLost), holding_lease(lake, mine):
        pytest.fail("the work must not begin")
    kinds = [(entry.kind, entry.fence) for entry in lake.ledger.entries(model_chain("agents"))]
    assert kinds == [("retraining_opened", 1), ("trained_late", 1), ("retraining_opened", 2)]


def test_a_failed_stage_keeps_the_lease_for_its_retry_and_an_interrupted_one_releases_it(lake: Lake) -> None:
    mine = claim(lake, "agents", "run-1")
    with pytest.raises(ValueError, match="bad row"), holding_lease(lake, mine):
        raise ValueError("bad row")
    with holding_lease(lake, mine):
        assert not claim(lake, "agents", "run-2").granted
    with pytest.raises(KeyboardInterrupt), holding_lease(lake, mine):
        raise KeyboardInterrupt
    assert claim(lake, "agents", "run-2").fence == 2


def test_a_running_stage_renews_the_lease_and_detects_its_loss(
    lake: Lake, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_lease, "RENEWAL_S", 0.01)
    mine = claim(lake, "agents", "run-1")

    def work() -> None:
        with holding_lease(lake, mine) as heartbeat:
            for _ in range(5):
                clock.pass_s(LEASE_S - 1)
                wait_for_renewal(lake, clock)
            heartbeat.check()
            while True:
                steal(lake)
                heartbeat.check()
                time.sleep(0.01)

    with pytest.raises(LeaseLost, match="was taken from 'run-1'"):
        work()


def wait_for_renewal(lake: Lake, clock: Clock) -> None:
    while not ((held := lease_holder(lake, "agents")) and held.expires >= clock.now + timedelta(seconds=LEASE_S)):
        time.sleep(0.01)


def steal(lake: Lake) -> None:
    """Give the lease to another run, as after its expiry."""
    taken = {"holder": "run-2", "fence": 2, "expires": "2030-01-01T00:00:00+00:00"}
    lake.store.write("leases/training/agents.json", json.dumps(taken).encode())


def claim_model(settings: Settings, worker: int) -> int:
    return claim(open_lake(settings), "agents", f"run-{worker}").fence


def test_of_many_runs_at_once_one_gets_the_claim(settings: Settings) -> None:
    assert sorted(at_once(claim_model, [(settings, worker) for worker in range(6)])) == [0, 0, 0, 0, 0, 1]
