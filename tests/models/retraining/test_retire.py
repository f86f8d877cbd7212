"""A version whose data have lost rows is retired: no candidate has to beat it, no roll-back leads to it, and it is
replaced.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lake.lake import Lake, open_lake
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.state import ModelState
from models.retraining.retire import replace_retired, retire
from models.triggers.requests import abandon_request
from models.triggers.rules import RetryBackoff
from reports.status import overview

PATIENCE = RetryBackoff()
CUT = "2026-10-07"


def append(lake: Lake, kind: str, **payload: Any) -> None:
    number = len(lake.ledger.entries(model_chain("agents")))
    lake.ledger.append(model_chain("agents"), kind, f"{kind}:{number}", payload)


@pytest.fixture
def lake_with_versions(lake: Lake) -> Lake:
    """Version 1 was in production, 2 is, and 3 waits."""
    for number in (1, 2, 3):
        append(lake, "registered", version=number, digest=f"{number:064x}", path=f"ml/models/agents/v{number}")
    append(lake, "promoted", version=1, baseline="base")
    append(lake, "promoted", version=2, baseline="agents@v1")
    return lake


def state(lake: Lake) -> ModelState:
    return read_state(lake.ledger, "agents")


def test_the_versions_of_the_tags_are_retired_once_with_the_reason(lake_with_versions: Lake) -> None:
    lake = lake_with_versions
    tags = ["agents-v1", "agents-v2", "agents-v9", "somebodys-own", "of-no-model-v1"]
    assert retire(lake, tags, "processed.agent_interactions", CUT) == ["agents@v1", "agents@v2"]
    assert retire(lake, tags, "ml.training_sets", CUT) == []
    assert state(lake).retired == (1, 2)
    first = lake.ledger.entries(model_chain("agents"), kind="retired")[0]
    assert "processed.agent_interactions: rows before 2026-10-07" in first.payload["reason"]


def test_a_retired_version_stays_in_production_but_no_candidate_has_to_beat_it(lake_with_versions: Lake) -> None:
    retire(lake_with_versions, ["agents-v2"], "processed.agent_interactions", CUT)
    now = state(lake_with_versions)
    assert now.production is not None
    assert (now.production.name, now.baseline) == ("agents@v2", "base")
    assert overview(lake_with_versions)["models"][0]["production"] == "agents@v2"


def test_a_retired_version_has_no_rollout_and_no_promotion(lake_with_versions: Lake) -> None:
    lake = lake_with_versions
    append(lake, "rollout_opened", version=3, baseline="agents@v2")
    retire(lake, ["agents-v3"], "processed.agent_interactions", CUT)
    assert (state(lake).waiting, state(lake).rollout) == ((state(lake).versions[0], state(lake).versions[1]), None)
    append(lake, "promoted", version=3, baseline="agents@v2")
    assert state(lake).baseline == "agents@v2"


def test_a_roll_back_of_its_successor_skips_it(lake_with_versions: Lake) -> None:
    lake = lake_with_versions
    retire(lake, ["agents-v2"], "processed.agent_interactions", CUT)
    append(lake, "promoted", version=3, baseline="base")
    assert state(lake).baseline == "agents@v3"
    append(lake, "rolled_back", version=3, baseline="agents@v2")
    assert state(lake).baseline == "agents@v1"


def test_a_roll_back_goes_to_the_base_where_all_before_it_are_retired(lake_with_versions: Lake) -> None:
    lake = lake_with_versions
    retire(lake, ["agents-v1", "agents-v2"], "processed.agent_interactions", CUT)
    append(lake, "promoted", version=3, baseline="base")
    append(lake, "rolled_back", version=3, baseline="agents@v2")
    assert (state(lake).production, state(lake).baseline) == (None, "base")


def test_the_state_before_the_retirement_is_unchanged(lake_with_versions: Lake) -> None:
    before = lake_with_versions.ledger.clock()
    retire(lake_with_versions, ["agents-v2"], "processed.agent_interactions", CUT)
    assert read_state(lake_with_versions.ledger, "agents", before).baseline == "agents@v2"


def test_a_successor_is_requested_only_if_the_version_in_production_is_retired(lake_with_versions: Lake) -> None:
    lake = lake_with_versions
    retire(lake, ["agents-v1"], "processed.agent_interactions", CUT)
    assert replace_retired(lake, PATIENCE, "2026-11-02") == []
    retire(lake, ["agents-v2"], "processed.agent_interactions", CUT)
    [successor] = replace_retired(lake, PATIENCE, "2026-11-02")
    assert (successor.version, successor.answer) == ("agents@v2", "started")
    request = state(lake).request
    assert request is not None
    assert (request.trigger, request.number) == ("retention", 1)


def test_a_successor_is_requested_once_a_day_until_there_is_one(lake_with_versions: Lake) -> None:
    lake = lake_with_versions
    retire(lake, ["agents-v2"], "processed.agent_interactions", CUT)
    for _ in range(2):
        replace_retired(lake, PATIENCE, "2026-11-02")
    assert state(lake).requests == 1
    request = state(lake).request
    assert request is not None
    abandon_request(lake, "agents", request, "Its run has failed.")
    later = open_lake(lake.settings, clock=lambda: datetime.now(UTC) + timedelta(days=1))
    assert replace_retired(later, PATIENCE, "2026-11-02")[0].detail == "request 1"
    assert replace_retired(later, PATIENCE, "2026-11-03")[0].detail == "request 2"
    append(lake, "promoted", version=3, baseline="base")
    assert replace_retired(later, PATIENCE, "2026-11-04") == []
