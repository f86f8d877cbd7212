"""A roll-back by hand takes users off whatever answers them, one step at a time, and says what answers then."""

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


def test_a_shadow_that_nobody_has_met_does_not_stand_before_production(lake: Lake) -> None:
    begin(lake, 2, "agents@v1")
    gateway = RouteCache(lake.settings, GatewayMetrics())
    gateway.refresh()
    assert gateway.routes[SPEC.name].choose("user:ana").adapter != "base"
    assert roll_back_now(lake) == ("agents@v1", "base")
    gateway.refresh()
    assert gateway.routes[SPEC.name].choose("user:ana").adapter == "base"


def test_a_production_that_is_taken_back_voids_the_rollout_that_was_judged_against_it(lake: Lake) -> None:
    begin(lake, 2, "agents@v1")
    roll_back_now(lake)
    state = read_state(lake.ledger, SPEC.name)
    assert (state.production, state.rollout and state.rollout.version) == (None, 2)
    promote(lake, 2, "agents@v1")
    assert read_state(lake.ledger, SPEC.name).production is None


def test_the_next_step_closes_a_shadow_whose_baseline_was_taken_back(lake: Lake) -> None:
    begin(lake, 2, "agents@v1")
    roll_back_now(lake)
    verdict = advance(lake, "agents@v2")
    told = "Void: agents@v2 was judged against agents@v1, but base is in production now."
    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, told)
    assert open_rollouts(lake) == []


def test_with_nothing_in_production_the_shadow_is_what_ends(lake: Lake) -> None:
    begin(lake, 2, "agents@v1")
    roll_back_now(lake)
    assert roll_back_now(lake) == ("agents@v2", "base")
    assert open_rollouts(lake) == []
    with pytest.raises(DataError, match="nothing to roll back"):
        roll_back_now(lake)


def test_after_a_canary_production_goes_on_and_the_command_says_how_to_take_it_back_too(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(lake, 2, "agents@v1", share=0.1)
    for name in ("home", "lake", "store"):
        monkeypatch.setenv(f"FUELLINE_{name.upper()}", str(getattr(lake.settings, name)))
    told = [
        CliRunner().invoke(main, ["rollback", "agents", "--reason", "tone", "--by", "ana"], catch_exceptions=False)
        for _ in range(2)
    ]
    logging.getLogger("fuelline").handlers.clear()
    assert [one.output for one in told] == [
        "agents@v2 is taken back: agents@v1 answers, in production; a second `fuelline rollback agents` takes that "
        "back too.\n",
        "agents@v1 is taken back: base answers.\n",
    ]
