"""Evaluation: the four judgements, on trained adapters where it matters and on generated scores elsewhere."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from errors import TamperedArtifact, UserError
from lake.lake import Lake
from models.data.held_out import held_out_rows, held_out_sample
from models.evaluation.evaluate import EvaluationRule, evaluate, judge, read_scores
from models.evaluation.statistics import PairedScores
from models.registry.kinds import model_chain
from models.registry.registry import decline, register
from models.types import Judgement, Outcome
from tests.world.world import PROFILE, SPEC, lake_with_tiny, trained, training_set

QUICK = EvaluationRule(resamples=1000)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


def made_scores(effects: dict[str, float], *, users: int = 40, seed: int = 0) -> tuple[PairedScores, np.ndarray]:
    """Ten rows of ten tokens per user and agent, each agent with its own effect in nats per token."""
    generator = np.random.default_rng(seed)
    agents = np.repeat(sorted(effects), users * 10)
    user = np.tile(np.repeat(np.arange(users), 10), len(effects))
    own = generator.normal(0, 0.1, size=users)[user]
    noise = generator.normal(0, 0.3, size=len(agents))
    difference = 10 * (np.array([effects[agent] for agent in agents]) + own + noise)
    tokens = np.full(len(agents), 10.0)
    scores = PairedScores(
        candidate=20 + difference, baseline=np.full(len(agents), 20.0), tokens=tokens, users=user.astype(str)
    )
    return scores, agents


def test_a_candidate_that_learned_the_policy_is_better_than_the_base(lake: Lake) -> None:
    evaluation = evaluate(lake, trained(lake), SPEC, PROFILE, None, QUICK)
    assert evaluation.judgement is Judgement.BETTER
    assert evaluation.baseline == "base"
    assert evaluation.overall.rows == PROFILE.eval_rows
    assert evaluation.overall.low <= evaluation.overall.difference <= evaluation.overall.high < 0
    assert [part.slice for part in evaluation.agents] == ["auditor", "bruno", "jamie", "mary-kay"]
    assert sum(part.rows for part in evaluation.agents) == evaluation.overall.rows


def test_a_candidate_trained_on_garbage_is_never_registered(lake: Lake) -> None:
    evaluation = evaluate(lake, trained(lake, "noise", garbage=True), SPEC, PROFILE, None, QUICK)
    assert evaluation.judgement is Judgement.WORSE
    with pytest.raises(UserError, match="judged worse against base"):
        register(lake, evaluation, SPEC, PROFILE)
    verdict = decline(lake, evaluation)
    assert (verdict.outcome, verdict.version) == (Outcome.NOT_REGISTERED, 0)
    assert lake.ledger.entries(model_chain(SPEC.name), kind="registered") == []
    assert list(lake.store.list("ml/models/")) == []


def test_the_production_model_is_not_better_than_itself(lake: Lake) -> None:
    adapter = trained(lake)
    version = register(lake, evaluate(lake, adapter, SPEC, PROFILE, None, QUICK), SPEC, PROFILE)
    again = evaluate(lake, adapter, SPEC, PROFILE, version, QUICK)
    assert again.judgement is Judgement.NOT_SHOWN_BETTER
    assert (again.baseline, again.overall.difference) == ("agents@v1", 0.0)


def test_a_second_call_returns_the_first_result_and_computes_nothing(lake: Lake) -> None:
    adapter = trained(lake)
    first = evaluate(lake, adapter, SPEC, PROFILE, None, QUICK)
    lake.store.delete(f"{adapter.path}/adapter_model.safetensors")
    assert evaluate(lake, adapter, SPEC, PROFILE, None, QUICK) == first
    assert len(lake.ledger.entries(model_chain(SPEC.name), kind="judged")) == 1


def test_another_rule_makes_another_judgement(lake: Lake) -> None:
    adapter = trained(lake)
    evaluate(lake, adapter, SPEC, PROFILE, None, QUICK)
    strict = replace(QUICK, min_users=1000)
    assert evaluate(lake, adapter, SPEC, PROFILE, None, strict).judgement is Judgement.TOO_LITTLE_DATA


def test_weights_that_were_changed_are_not_evaluated(lake: Lake) -> None:
    adapter = trained(lake)
    path = f"{adapter.path}/adapter_model.safetensors"
    data = bytearray(lake.store.read(path))
    data[-1] ^= 1
    lake.store.write(path, bytes(data))
    with pytest.raises(TamperedArtifact, match="adapter_model"):
        evaluate(lake, adapter, SPEC, PROFILE, None, QUICK)


def test_the_scores_are_stored_by_row_without_user_ids(lake: Lake) -> None:
    evaluation = evaluate(lake, trained(lake), SPEC, PROFILE, None, QUICK)
    scores = read_scores(lake, evaluation)
    difference = np.array(scores["candidate_nll"]) - np.array(scores["baseline_nll"])
    assert difference.sum() / np.array(scores["tokens"]).sum() == pytest.approx(evaluation.overall.difference)
    assert len(set(scores["user"].to_pylist())) == evaluation.overall.users
    assert b"user-" not in lake.store.read(evaluation.path)
    ledger = b"".join(entry.encode() for entry in lake.ledger.entries(model_chain(SPEC.name)))
    assert b"user-" not in ledger


def test_the_sample_keeps_each_agents_share_and_is_the_same_every_time(lake: Lake) -> None:
    own = training_set(lake)
    everyone = held_out_rows(lake, own)
    sample = held_out_sample(lake, own, 100)
    assert sample.num_rows == 100
    assert sample.equals(held_out_sample(lake, own, 100))
    assert 0.0 not in sample["weight"].to_pylist()
    whole, part = (Counter(rows["agent_name"].to_pylist()) for rows in (everyone, sample))
    assert all(abs(part[agent] - 100 * whole[agent] / everyone.num_rows) < 1 for agent in whole)
    assert held_out_sample(lake, own, 0).num_rows == everyone.num_rows


def test_one_agent_shown_worse_fails_a_candidate_that_is_better_overall() -> None:
    scores, agents = made_scores({"auditor": -0.5, "bruno": -0.5, "jamie": -0.5, "mary-kay": 0.3})
    overall, slices, judgement = judge(scores, agents, QUICK)
    assert overall.high < 0
    assert [part.slice for part in slices if part.low > 0] == ["mary-kay"]
    assert judgement is Judgement.WORSE


@pytest.mark.parametrize(("users", "expected"), [(9, Judgement.TOO_LITTLE_DATA), (10, Judgement.BETTER)])
def test_too_few_users_are_too_little_data_for_any_number_of_rows(users: int, expected: Judgement) -> None:
    scores, agents = made_scores({"bruno": -0.5}, users=users)
    assert judge(scores, agents, QUICK)[2] is expected


def test_without_held_out_rows_there_is_too_little_data() -> None:
    none = np.zeros(0)
    empty = PairedScores(candidate=none, baseline=none, tokens=none, users=np.zeros(0, dtype=str))
    overall, slices, judgement = judge(empty, np.zeros(0, dtype=str), QUICK)
    assert (overall.rows, slices, judgement) == (0, [], Judgement.TOO_LITTLE_DATA)


def test_an_agent_with_one_user_has_an_unbounded_interval(lake: Lake) -> None:
    scores, agents = made_scores({"bruno": -0.5, "jamie": 2.0})
    lone = (agents == "bruno") | (scores.users == "3")
    _, slices, judgement = judge(scores.where(lone), agents[lone], QUICK)
    assert (slices[1].low, slices[1].high) == (-math.inf, math.inf)
    assert judgement is Judgement.BETTER


def test_four_agents_do_not_multiply_the_false_alarms() -> None:
    """Equal models: any agent is judged worse in at most 2.5% of evaluations, whatever the number of agents."""
    runs, quick = 300, EvaluationRule(resamples=400)
    effects = dict.fromkeys(["auditor", "bruno", "jamie", "mary-kay"], 0.0)
    alarms = passes = 0
    for seed in range(runs):
        scores, agents = made_scores(effects, users=20, seed=seed)
        _, slices, judgement = judge(scores, agents, quick)
        alarms += any(part.low > 0 for part in slices)
        passes += judgement is Judgement.BETTER
    # Above 17 of 300 once in a thousand if the share is 2.5%.
    assert alarms <= 17
    assert passes <= 17


def test_infinite_intervals_are_stored_in_the_ledger(lake: Lake) -> None:
    adapter = trained(lake)
    rule = replace(QUICK, min_rows=1, min_users=2)
    tiny = replace(PROFILE, eval_rows=4)
    first = evaluate(lake, adapter, SPEC, tiny, None, rule)
    assert any(math.isinf(part.low) for part in first.agents)
    assert evaluate(lake, adapter, SPEC, tiny, None, rule) == first
    json.loads(lake.ledger.entries(model_chain(SPEC.name))[-1].encode(), parse_constant=pytest.fail)
