"""The route follows the ledger: every entry can change it, and nothing else does."""

from collections import Counter
from pathlib import Path

import pytest

from errors import UnknownName
from lake.lake import Lake
from serving.rollout.manual import plan_rollback, roll_back
from serving.routing.routes import Route, read_routes, route_for_agent
from tests.serving.ledgers import begin, promote, versions, write
from tests.world.world import SPEC, lake_with_tiny


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


def route(lake: Lake) -> Route:
    return read_routes(lake)[SPEC.name]


def test_a_model_without_a_promotion_answers_with_the_base(lake: Lake) -> None:
    versions(lake, 1)
    assert route(lake).choose("user:ana").adapter == "base"
    begin(lake, 1)
    assert route(lake).choose("user:ana").rollout is None


def test_a_share_sends_a_part_of_the_users_to_the_candidate_and_each_of_them_always(lake: Lake) -> None:
    candidate = versions(lake, 1)[0]
    key = begin(lake, 1, share=0.1)
    choices = {f"user:{i}": route(lake).choose(f"user:{i}") for i in range(500)}
    assert Counter(choice.arm for choice in choices.values())["candidate"] == pytest.approx(50, abs=25)
    assert {choice.adapter for choice in choices.values()} == {"base", candidate.adapter_name}
    assert all(route(lake).choose(user) == choice for user, choice in list(choices.items())[:20])
    write(lake, "canary_widened", version=1, baseline="base", rollout=key, share=0.5, reason="more")
    after = {user: route(lake).choose(user).arm for user in choices}
    assert all(after[user] == "candidate" for user, choice in choices.items() if choice.arm == "candidate")


def test_a_promoted_version_answers_all_but_the_holdback_until_the_soak_ends(lake: Lake) -> None:
    candidate = versions(lake, 1)[0]
    key = begin(lake, 1, share=0.5)
    exposed = [f"user:{i}" for i in range(200) if route(lake).choose(f"user:{i}").arm == "candidate"]
    promote(lake, 1, "base", soak={"rollout": key, "share": 0.9, "hours": 24.0})
    soaking = route(lake)
    assert (soaking.stable, soaking.candidate, soaking.share, soaking.rollout) == (None, candidate, 0.9, key)
    assert all(soaking.choose(user).arm == "candidate" for user in exposed)
    write(lake, "soak_ended", version=1, baseline="base", rollout=key)
    assert route(lake).choose("user:anybody").adapter == candidate.adapter_name


def test_a_manual_roll_back_moves_all_users_with_one_entry(lake: Lake) -> None:
    versions(lake, 2)
    begin(lake, 1, share=0.5)
    promote(lake, 1, "base")
    begin(lake, 2, "agents@v1", share=0.5)
    planned = plan_rollback(lake, SPEC.name)
    assert (planned.from_version, planned.to_version) == ("agents@v2", "agents@v1")
    before = len(lake.ledger.entries("models/agents"))
    for _ in range(2):
        roll_back(lake, planned, reason="tone", by="ana")
    assert len(lake.ledger.entries("models/agents")) == before + 1
    assert (route(lake).rollout, route(lake).share) == ("", 0.0)
    assert route(lake).stable is not None
    assert route(lake).stable.name == "agents@v1"  # type: ignore[union-attr]


def test_two_simultaneous_roll_backs_go_back_one_version(lake: Lake) -> None:
    versions(lake, 2)
    for number, baseline in ((1, "base"), (2, "agents@v1")):
        begin(lake, number, baseline, share=0.5)
        promote(lake, number, baseline)
    both = [plan_rollback(lake, SPEC.name) for _ in range(2)]
    for planned in both:
        roll_back(lake, planned, reason="wrong language", by="ana")
    assert route(lake).stable.name == "agents@v1"  # type: ignore[union-attr]
    roll_back(lake, plan_rollback(lake, SPEC.name), reason="further", by="ana")
    assert route(lake).stable is None


def test_an_agent_is_answered_by_the_model_that_names_it_else_by_the_one_for_all_agents() -> None:
    routes = {"agents": Route(model="agents"), "jamie": Route(model="jamie", agents=("jamie",))}
    assert route_for_agent(routes, "jamie").model == "jamie"
    assert route_for_agent(routes, "bruno").model == "agents"
    with pytest.raises(UnknownName, match="bruno"):
        route_for_agent({"jamie": routes["jamie"]}, "bruno")
