"""The rollout controller: a failed step is reported, does not stop other models, and sets the exit code of a round."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from lake.lake import Lake
from models.registry.kinds import model_chain
from settings import settings
from tests.serving.ledgers import begin, promote, versions
from tests.world.world import SPEC, lake_with_tiny


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """The lake of the settings. The next step of its rollout is void."""
    lake = lake_with_tiny(tmp_path)
    for name in ("home", "lake", "store"):
        monkeypatch.setenv(f"FUELLINE_{name.upper()}", str(getattr(lake.settings, name)))
    versions(lake, 2)
    promote(lake, 1, "base")
    begin(lake, 2, "base")
    settings.cache_clear()
    yield lake
    settings.cache_clear()


def test_a_single_round_exits_with_0_where_every_step_was_taken(lake: Lake) -> None:
    result = CliRunner().invoke(main, ["rollout", "controller", "--once"])
    assert result.exit_code == 0
    assert "agents@v2: inconclusive. Void" in result.stdout


def test_a_single_round_exits_with_1_where_a_step_failed_and_takes_the_others(lake: Lake) -> None:
    lake.ledger.append("models/aaa", "rollout_opened", "rollout:aaa@v1:x", {"version": 1, "baseline": "base"})
    result = CliRunner().invoke(main, ["rollout", "controller", "--once"])
    assert result.exit_code == 1, result.output
    assert "aaa@v1: UnknownName: " in result.stdout
    assert "agents@v2: inconclusive. Void" in result.stdout
    assert [entry.kind for entry in lake.ledger.entries(model_chain(SPEC.name))][-1] == "inconclusive"


@pytest.mark.parametrize("command", ["rollout controller", "serve reconcile"])
@pytest.mark.parametrize("every", ["-1", "0", "nan", "inf", "soon"])
def test_an_impossible_interval_is_refused(command: str, every: str) -> None:
    refused = CliRunner().invoke(main, [*command.split(), "--once", "--every", every])
    assert (refused.exit_code, "Invalid value for '--every': " in refused.stderr) == (2, True)
