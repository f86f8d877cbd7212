"""A launch plan that a task starts on a laptop: a process of its own, one per name, whose end is always known."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from errors import UserError
from lake.lake import open_lake
from lake.sample.generate import write_sample
from settings import settings
from tasks.execution import local
from tasks.execution.start import Phase, execution_name, phase, start
from tests.world.tiny import build_tiny
from tests.world.world import PROFILE


@pytest.fixture(autouse=True)
def _own_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUELLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FUELLINE_BASE_MODEL", str(build_tiny(tmp_path / "base")))
    settings.cache_clear()
    yield
    for child in local._children:
        child.kill()
        child.wait()
    settings.cache_clear()


def _wait(name: str, until: Callable[[Phase], bool] = lambda current: current is not Phase.RUNNING) -> Phase:
    deadline = time.monotonic() + 240
    while not until(current := phase(name)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return current


def _log(name: str) -> str:
    return local.local_execution(name).path("log").read_text()


def _retraining() -> str:
    """The launch plan of the retraining that takes every input."""
    from launchplans.registry import launch_plans

    plans = [p for p in launch_plans().values() if p.workflow.name == "workflows.retraining.retraining"]
    return next(plan.name for plan in plans if not plan.fixed_inputs.literals)


def test_start_does_not_wait_for_the_retraining_which_runs_on_by_itself(tmp_path: Path) -> None:
    from workflows.ingestion import ingestion

    write_sample(tmp_path / "logs", days=3)
    ingestion(folder=str(tmp_path / "logs"))
    small = replace(PROFILE, name="started", max_steps=4, eval_rows=60)

    first = start(_retraining(), {"profile": small}, name="agents-7")
    assert (first.name, first.already) == ("agents-7", False)
    assert first.place == str(settings().folder / "runs" / "agents-7.log")
    assert phase("agents-7") is Phase.RUNNING
    again = start(_retraining(), {"profile": small}, name="agents-7")
    assert again.already

    assert _wait("agents-7") is Phase.SUCCEEDED, _log("agents-7")
    assert start(_retraining(), {"profile": small}, name="agents-7").already
    opened = open_lake().ledger.entries("models/agents", kind="retraining_opened")
    [trained] = open_lake().ledger.entries("models/agents", kind="trained")
    assert len(opened) == 1
    assert trained.payload["steps"] == 4


def test_a_failed_execution_has_its_phase_and_the_reason_in_its_log() -> None:
    start(_retraining(), {"profile": PROFILE}, name="on-an-empty-lake")
    assert _wait("on-an-empty-lake") is Phase.FAILED
    assert "Traceback" in _log("on-an-empty-lake")


def test_a_killed_execution_is_aborted_and_not_started_again() -> None:
    start(_retraining(), {"profile": PROFILE}, name="killed")
    while not local.local_execution("killed").state():
        time.sleep(0.02)
    os.killpg(local._children[-1].pid, signal.SIGKILL)
    assert _wait("killed") is Phase.ABORTED
    assert start(_retraining(), {"profile": PROFILE}, name="killed").already


def test_an_execution_that_was_killed_before_it_began_can_be_started_again() -> None:
    assert phase("lost") is Phase.UNKNOWN
    due = {"kickoff": datetime(2026, 11, 1, 4, 30, tzinfo=UTC)}
    start("audit_daily", due, name="lost")
    os.killpg(local._children[-1].pid, signal.SIGKILL)  # it has not even imported Flyte yet
    assert _wait("lost") is Phase.UNKNOWN
    assert not start("audit_daily", due, name="lost").already
    assert _wait("lost") is Phase.SUCCEEDED, _log("lost")


def test_an_unknown_launch_plan_fails_with_the_nearest_name() -> None:
    start("audit_dayly", {}, name="misspelt")
    assert _wait("misspelt") is Phase.FAILED
    assert "did you mean 'audit_daily'" in _log("misspelt")


def test_an_input_of_unknown_type_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match="input 'reason'"):
        start(_retraining(), {"reason": [1, "two"]}, name="untyped")
    assert phase("untyped") is Phase.UNKNOWN


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("agents-7", "agents-7"),
        ("Retrain agents: 2026-10-01", "retrain-agents-2026-10-01-"),
        ("7 days", "x-7-days-"),
        ("a" * 80, "a" * 51 + "-"),
    ],
)
def test_a_name_becomes_a_valid_name_of_flyte(name: str, expected: str) -> None:
    valid = execution_name(name)
    assert valid.startswith(expected)
    assert len(valid) <= 63
    assert execution_name(valid) == valid
