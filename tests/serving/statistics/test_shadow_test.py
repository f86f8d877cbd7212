"""When harm is shown, when it is excluded, and how often each is wrong."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from models.evaluation.statistics import PairedScores, excess_limit, sign_test
from models.llm.likelihood import Generated
from models.types import Outcome
from serving.statistics.shadow_test import PairedEvents, ShadowEvidence, ShadowRule, decide, weigh

RULE = ShadowRule(resamples=500)
FINE = Generated(text="thank you", tokens=2, finished=True)
EMPTY = Generated(text="", tokens=0, finished=True)
RUNAWAY = Generated(text="and and and", tokens=48, finished=False)


def events(worse: int, better: int, pairs: int) -> PairedEvents:
    return PairedEvents(
        pairs=pairs,
        candidate_only=worse,
        baseline_only=better,
        excess_limit=excess_limit(worse, better, pairs, confidence=1 - RULE.error),
        p_value=sign_test(worse, better),
    )


HARMLESS = ShadowEvidence(
    requests=200,
    fresh=200,
    users=40,
    difference=-0.2,
    low=-0.3,
    high=-0.1,
    likelihood=events(0, 30, 200),
    generation=events(0, 0, 16),
    empty={"candidate": 0, "baseline": 0},
    runaway={"candidate": 0, "baseline": 0},
)


def drawn(effect: float, seed: int, *, users: int = 30, rows: int = 200) -> PairedScores:
    """Requests of twenty tokens each with this effect in nats a token, users and rows scattered around it."""
    generator = np.random.default_rng(seed)
    user = generator.integers(0, users, size=rows)
    change = effect + generator.normal(0, 0.05, size=users)[user] + generator.normal(0, 0.1, size=rows)
    tokens = np.full(rows, 20.0)
    return PairedScores(candidate=40 + 20 * change, baseline=np.full(rows, 40.0), tokens=tokens, users=user.astype(str))


@pytest.mark.parametrize(
    ("change", "outcome", "why"),
    [
        ({}, Outcome.PROMOTED, "No harm on 200 requests"),
        ({"difference": 0.2, "low": 0.1, "high": 0.3}, Outcome.REJECTED, "accepted answers are less likely"),
        ({"likelihood": events(12, 1, 200)}, Outcome.REJECTED, "12 less likely answers of the candidate alone"),
        ({"generation": events(8, 0, 16)}, Outcome.REJECTED, "8 broken answers of the candidate alone"),
        ({"low": -0.1, "high": 0.05}, Outcome.INCONCLUSIVE, "accepted answers"),
        ({"likelihood": events(6, 1, 200)}, Outcome.INCONCLUSIVE, "less likely answers may be up"),
        ({"generation": events(2, 0, 16)}, Outcome.INCONCLUSIVE, "broken answers may be up"),
        ({"users": 9}, Outcome.INCONCLUSIVE, "10 are needed"),
    ],
)
def test_each_kind_of_evidence_has_its_verdict(change: dict[str, Any], outcome: Outcome, why: str) -> None:
    verdict, reason = decide(replace(HARMLESS, **change), RULE)
    assert (verdict, why in reason) == (outcome, True), reason


def test_empty_and_runaway_answers_are_counted_in_pairs() -> None:
    evidence = weigh(drawn(0, 0), [FINE, EMPTY, RUNAWAY, EMPTY], [FINE, FINE, FINE, RUNAWAY], 7, RULE)
    assert (evidence.generation.candidate_only, evidence.generation.baseline_only) == (2, 0)
    assert evidence.empty == {"candidate": 2, "baseline": 0}
    assert evidence.runaway == {"candidate": 1, "baseline": 1}
    assert evidence.fresh == 7


def test_a_harmful_candidate_is_promoted_no_more_often_than_stated() -> None:
    """A candidate exactly at the tolerated loss, everything else perfect."""
    runs = 200
    fine = [FINE] * 16
    verdicts = [decide(weigh(drawn(0.02, seed), fine, fine, 0, RULE), RULE)[0] for seed in range(runs)]
    assert verdicts.count(Outcome.PROMOTED) <= stats.binom.ppf(0.999, runs, RULE.error)


def test_an_equal_candidate_is_rejected_no_more_often_than_stated() -> None:
    runs = 200
    fine = [FINE] * 16
    verdicts = [decide(weigh(drawn(0.0, seed), fine, fine, 0, RULE), RULE)[0] for seed in range(runs)]
    assert verdicts.count(Outcome.REJECTED) <= stats.binom.ppf(0.999, runs, RULE.error)


@pytest.mark.parametrize("error", [0.0, 0.5, 1.0])
def test_an_impossible_error_bound_is_refused(error: float) -> None:
    with pytest.raises(ValueError, match="error must lie"):
        ShadowRule(error=error)
