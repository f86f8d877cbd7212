"""A rollback by hand takes the candidate or the version in production back, one step at a time."""

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from errors import DataError
from lake.lake import Lake
from models.registry.fold import read_state
from models.types import Outcome
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.route_cache import RouteCache
from serving.rollout.manual import plan_rollback, roll_back
from serving.rollout.rollout import advance, open_rollouts
from tests.serving.ledgers import begin, promote, versions
from tests.world.world import SPEC, lake_with_tiny


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """The first version is in production."""
    lake = lake_with_tiny(tmp_path)
    versions(lake, 2)
    begin(lake, 1, share=0.5)
    promote(lake, 1, "base")
    return lake


def roll_back_now(lake: Lake) -> tuple[str, str]:
    planned = plan_rollback(lake, SPEC.name)
    roll_back(lake, planned, reason="tone", by="ana")
    return planned.from_version, planned.to_version


def test_a_rollback_takes_back_production_and_not_a_rollout_in_its_shadow(lake: Lake) -> None:
    begin(lake, 2, "agents@v1")
    gateway = RouteCache(lake.settings, GatewayMetrics())
    gateway.refresh()
    assert gateway.routes[SPEC.name].choose("user:ana").adapter != "base"
    assert roll_back_now(lake) == ("agents@v1", "base")
    gateway.refresh()
    assert gateway.routes[SPEC.name].choose("user:ana").adapter == "base"


def test_a_rollback_of_production_voids_the_rollout_that_was_evaluated_against_it(lake: Lake) -> None:
    begin(lake, 2, "agents@v1")
    roll_back_now(lake)
    state = read_state(lake.ledger, SPEC.name)
    assert (state.production, state.rollout and state.rollout.version) == (None, 2)
    promote(lake, 2, "agents@v1")
    assert read_state(lake.ledger, SPEC.name).production is None


def test_the_next_step_closes_a_rollout_whose_baseline_was_rolled_back(lake: Lake) -> None:
    begin(lake, 2, "agents@v1")
    roll_back_now(lake)
    verdict = advance(lake, "agents@v2")
    reason = "Void: agents@v2 was judged against agents@v1, but base is in production now."
    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, reason)
    assert open_rollouts(lake) == []


def test_with_nothing_in_production_a_rollback_ends_the_rollout_in_its_shadow(lake: Lake) -> None:
    begin(lake, 2, "agents@v1")
    roll_back_now(lake)
    assert roll_back_now(lake) == ("agents@v2", "base")
    assert open_rollouts(lake) == []
    with pytest.raises(DataError, match="nothing to roll back"):
        roll_back_now(lake)


def test_after_the_rollback_of_a_canary_the_command_names_the_rollback_of_production(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(lake, 2, "agents@v1", share=0.1)
    for name in ("home", "lake", "store"):
        monkeypatch.setenv(f"FUELLINE_{name.upper()}", str(getattr(lake.settings, name)))
    results = [
        CliRunner().invoke(main, ["rollback", "agents", "--reason", "tone", "--by", "ana"], catch_exceptions=False)
        for _ in range(2)
    ]
    logging.getLogger("fuelline").handlers.clear()
    assert [result.output for result in results] == [
        "agents@v2 is taken back: agents@v1 answers, in production; a second `fuelline rollback agents` takes that "
        "back too.\n",
        "agents@v1 is taken back: base answers.\n",
    ]
