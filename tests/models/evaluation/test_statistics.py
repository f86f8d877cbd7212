"""The intervals and the counts: correct where the result is known, wide where there are few data."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.evaluation.statistics import PairedScores, excess_limit, paired_interval, sign_test, simultaneous_level

TRUE = -0.05


def clustered(users: int, seed: int) -> PairedScores:
    """Users with their own effects around ``TRUE``, one to some twenty rows each."""
    generator = np.random.default_rng(seed)
    rows = generator.geometric(1 / 5, size=users)
    user = np.repeat(np.arange(users), rows)
    tokens = generator.integers(5, 40, size=rows.sum()).astype(float)
    effect = generator.normal(TRUE, 0.15, size=users)[user] + generator.normal(0, 0.3, size=rows.sum())
    baseline = tokens * 2.0
    return PairedScores(candidate=baseline + tokens * effect, baseline=baseline, tokens=tokens, users=user.astype(str))


def flat(differences: np.ndarray, users: list[str] | None = None) -> PairedScores:
    """Rows of one token each; by default every row has its own user."""
    zeros = np.zeros(len(differences))
    names = np.array(users if users is not None else [str(i) for i in range(len(differences))])
    return PairedScores(candidate=differences, baseline=zeros, tokens=zeros + 1, users=names)


@pytest.mark.parametrize("users", [15, 60])
def test_the_interval_covers_the_truth_at_its_level(users: int) -> None:
    runs, level = 400, 0.95
    intervals = [paired_interval(clustered(users, seed), confidence=level, resamples=800) for seed in range(runs)]
    covered = sum(interval.low <= TRUE <= interval.high for interval in intervals)
    # 400 runs at 95%: outside these bounds once in a thousand if the level holds.
    low, high = stats.binom.interval(0.999, runs, level)
    assert low <= covered <= high


def test_an_interval_that_ignores_users_is_too_narrow() -> None:
    runs = 200
    covered = 0
    for seed in range(runs):
        scores = clustered(15, seed)
        alone = PairedScores(
            candidate=scores.candidate,
            baseline=scores.baseline,
            tokens=scores.tokens,
            users=np.arange(len(scores)).astype(str),
        )
        interval = paired_interval(alone, resamples=400)
        covered += interval.low <= TRUE <= interval.high
    assert covered < stats.binom.interval(0.999, runs, 0.95)[0]


def test_without_clusters_it_agrees_with_scipy() -> None:
    differences = np.random.default_rng(5).normal(-0.1, 1.0, size=400)
    ours = paired_interval(flat(differences), confidence=0.9, resamples=20_000)
    theirs = stats.bootstrap(
        (differences,), np.mean, confidence_level=0.9, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.difference == pytest.approx(differences.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_an_answer_counts_by_its_tokens() -> None:
    scores = PairedScores(
        candidate=np.array([30.0, 1.0]),
        baseline=np.array([0.0, 0.0]),
        tokens=np.array([30.0, 1.0]),
        users=np.array(["a", "b"]),
    )
    assert paired_interval(scores).difference == 1.0


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_the_same() -> None:
    scores = clustered(40, 1)
    first = paired_interval(scores, seed=3)
    assert paired_interval(scores, seed=3) == first
    assert paired_interval(scores, seed=4).low == pytest.approx(first.low, abs=0.1 * (first.high - first.low))


def test_a_higher_confidence_makes_a_wider_interval() -> None:
    scores = clustered(40, 1)
    wide, narrow = paired_interval(scores, confidence=0.99), paired_interval(scores, confidence=0.9)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_with_one_user_the_interval_is_unbounded() -> None:
    interval = paired_interval(flat(np.array([-1.0, -1.1, -0.9]), ["a"] * 3))
    assert (interval.low, interval.high, interval.users) == (-math.inf, math.inf, 1)


def test_equal_models_have_an_interval_of_zero_width() -> None:
    interval = paired_interval(flat(np.zeros(50)))
    assert (interval.difference, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_equal_users_give_an_interval_of_one_point() -> None:
    interval = paired_interval(flat(np.full(50, -0.3)))
    assert interval.low == interval.high == pytest.approx(-0.3)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30), st.integers(0, 5))
def test_the_interval_is_never_nan_and_its_limits_are_ordered(differences: list[float], seed: int) -> None:
    interval = paired_interval(flat(np.array(differences)), resamples=50, seed=seed)
    assert interval.low <= interval.high


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        flat(np.array([0.0, math.nan]))


def test_no_rows_and_impossible_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        paired_interval(flat(np.array([])))
    with pytest.raises(ValueError, match="not 1"):
        paired_interval(flat(np.zeros(3)), confidence=1.5)


def test_simultaneous_intervals_share_one_error() -> None:
    assert simultaneous_level(0.95, 4) == pytest.approx(0.9875)
    assert simultaneous_level(0.95, 1) == pytest.approx(0.95)


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (0, 5), (5, 0), (7, 3), (60, 41)])
def test_the_sign_test_equals_the_binomial_test(worse: int, better: int) -> None:
    expected = stats.binomtest(worse, worse + better, alternative="greater").pvalue if worse + better else 1.0
    assert sign_test(worse, better) == pytest.approx(expected)


@pytest.mark.parametrize("pairs", [16, 200])
def test_the_excess_limit_holds_its_level(pairs: int) -> None:
    """Candidate-only events at 15%, baseline-only at 5%: the limit lies below the true excess in at most 5% of runs."""
    generator, runs = np.random.default_rng(0), 4000
    counts = generator.multinomial(pairs, [0.15, 0.05, 0.8], size=runs)
    missed = sum(excess_limit(int(b), int(c), pairs, confidence=0.95) < 0.10 for b, c, _ in counts)
    assert missed <= stats.binom.ppf(0.999, runs, 0.05)
