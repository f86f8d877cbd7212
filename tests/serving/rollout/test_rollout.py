"""A rollout from registered candidate to verdict: promoted, rejected, inconclusive or void, and only once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from errors import DataError
from lake.lake import Lake
from lake.store.ledger import Entry, Ledger
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.registry import production, register
from models.spec import TrainingProfile
from models.types import BASE, ModelVersion, Outcome, Verdict, baseline_name
from serving.policy import CanaryRule
from serving.rollout.opening import open_rollout
from serving.rollout.rollout import advance, open_rollouts
from serving.rollout.shadow import recent_requests
from serving.statistics.shadow_test import ShadowRule
from tests.world.world import PROFILE, SPEC, lake_with_tiny, shown_better, trained, training_set

RULE = ShadowRule(resamples=1000)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


@pytest.fixture
def good(lake: Lake) -> ModelVersion:
    return register(lake, shown_better(trained(lake)), SPEC, PROFILE)


def garbage(lake: Lake, *, baseline: str = "base") -> ModelVersion:
    """A harmful version that the evaluation has judged better: only the shadow can stop it."""
    candidate = shown_better(trained(lake, "noise", garbage=True), baseline=baseline)
    return register(lake, candidate, SPEC, PROFILE)


def roll_out(
    lake: Lake,
    version: ModelVersion,
    baseline: ModelVersion | None = None,
    *,
    profile: TrainingProfile = PROFILE,
    rule: ShadowRule = RULE,
) -> Verdict:
    """Open a rollout and take its step."""
    opened = open_rollout(lake, version, baseline_name(baseline), profile, rule, CanaryRule())
    return advance(lake, version.name) if opened.outcome is Outcome.ROLLING_OUT else opened


def kinds(lake: Lake) -> list[str]:
    return [entry.kind for entry in lake.ledger.entries(model_chain(SPEC.name))]


def test_a_good_candidate_is_promoted_and_the_ledger_has_the_reason(lake: Lake, good: ModelVersion) -> None:
    verdict = roll_out(lake, good)
    assert verdict.outcome is Outcome.PROMOTED, verdict.reason
    assert production(lake.ledger, SPEC.name) == good
    assert kinds(lake) == ["registered", "rollout_opened", "promoted"]
    entry = lake.ledger.entries(model_chain(SPEC.name))[-1]
    assert verdict.entry == entry.digest
    assert entry.payload["evidence"]["requests"] == PROFILE.shadow_requests
    assert entry.payload["evidence"]["generation"]["pairs"] == PROFILE.shadow_generations
    assert entry.payload["evidence"]["high"] < 0
    assert "With no live serving configured the rollout ends here" in verdict.reason


def test_a_second_call_returns_the_first_verdict_and_writes_nothing(lake: Lake, good: ModelVersion) -> None:
    first = roll_out(lake, good)
    before = kinds(lake)
    assert roll_out(lake, good) == first
    assert kinds(lake) == before


def test_a_bad_candidate_is_rejected_and_production_stays(lake: Lake) -> None:
    verdict = roll_out(lake, garbage(lake))
    assert verdict.outcome is Outcome.REJECTED, verdict.reason
    assert production(lake.ledger, SPEC.name) is None
    assert read_state(lake.ledger, SPEC.name).rollout is None


def test_a_candidate_is_compared_with_the_version_in_production(lake: Lake, good: ModelVersion) -> None:
    roll_out(lake, good)
    worse = garbage(lake, baseline=good.name)
    assert roll_out(lake, worse, good).outcome is Outcome.REJECTED
    assert production(lake.ledger, SPEC.name) == good


def test_too_few_generations_are_inconclusive_and_never_promote(lake: Lake, good: ModelVersion) -> None:
    verdict = roll_out(lake, good, profile=replace(PROFILE, shadow_generations=0))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "broken answers may be up by 100.0%" in verdict.reason
    assert production(lake.ledger, SPEC.name) is None


def test_too_few_users_are_inconclusive(lake: Lake, good: ModelVersion) -> None:
    verdict = roll_out(lake, good, rule=replace(RULE, min_users=1000))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "1000 are needed" in verdict.reason


def test_a_candidate_whose_baseline_was_replaced_is_void_before_any_work(lake: Lake, good: ModelVersion) -> None:
    other = register(lake, shown_better(trained(lake), key="another"), SPEC, PROFILE)
    roll_out(lake, good)
    verdict = roll_out(lake, other)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason.startswith("Void: agents@v2 was judged against base, but agents@v1 is in production")
    assert production(lake.ledger, SPEC.name) == good


class Overtaking(Ledger):
    """A ledger in which another rollout is promoted just before ours, after all checks."""

    def append(self, chain: str, kind: str, key: str, payload: Any, only_if: Any = None) -> Entry:
        if kind == "promoted" and key != "other":
            self.append(chain, "promoted", "other", {"version": 2, "baseline": "base"})
        return super().append(chain, kind, key, payload, only_if)


def test_a_promotion_after_another_one_at_the_last_moment_is_void(lake: Lake, good: ModelVersion) -> None:
    other = register(lake, shown_better(trained(lake), key="another"), SPEC, PROFILE)
    raced = replace(lake, ledger=Overtaking(lake.store))
    verdict = roll_out(raced, good)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert production(lake.ledger, SPEC.name) == other
    assert roll_out(lake, good) == verdict


def test_a_rollout_whose_step_died_is_decided_by_the_next_one(lake: Lake, good: ModelVersion) -> None:
    assert open_rollout(lake, good, BASE, PROFILE, RULE, CanaryRule()).outcome is Outcome.ROLLING_OUT
    assert open_rollouts(lake) == [good.name]
    assert roll_out(lake, good).outcome is Outcome.PROMOTED
    assert kinds(lake) == ["registered", "rollout_opened", "promoted"]
    assert open_rollouts(lake) == []
    assert advance(lake, good.name).outcome is Outcome.PROMOTED


def test_a_rollout_that_is_still_open_is_superseded_by_the_next_and_cannot_promote_later(
    lake: Lake, good: ModelVersion
) -> None:
    other = register(lake, shown_better(trained(lake), key="another"), SPEC, PROFILE)
    open_rollout(lake, other, BASE, PROFILE, RULE, CanaryRule())
    assert roll_out(lake, good).outcome is Outcome.PROMOTED
    verdict = advance(lake, other.name)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "Superseded by agents@v1" in verdict.reason
    assert production(lake.ledger, SPEC.name) == good


def test_under_another_rule_it_is_another_rollout(lake: Lake, good: ModelVersion) -> None:
    first = roll_out(lake, good, rule=replace(RULE, min_users=1000))
    assert (first.outcome, roll_out(lake, good).outcome) == (Outcome.INCONCLUSIVE, Outcome.PROMOTED)


def test_only_a_version_that_has_a_rollout_can_be_advanced(lake: Lake, good: ModelVersion) -> None:
    with pytest.raises(DataError, match="no rollout of agents@v1 is open"):
        advance(lake, good.name)


def test_the_newest_requests_that_the_evaluation_did_not_score_come_first(lake: Lake) -> None:
    own = training_set(lake)
    rows, fresh = recent_requests(lake, own, replace(PROFILE, eval_rows=200, shadow_requests=60))
    times = rows["timestamp"].to_pylist()
    assert (rows.num_rows, times) == (60, sorted(times))
    everything, _ = recent_requests(lake, own, replace(PROFILE, eval_rows=0, shadow_requests=0))
    assert 0 < fresh < 60  # 245 usable rows less 200 scored ones; scored ones fill up the rest
    assert everything.num_rows == fresh + 200
