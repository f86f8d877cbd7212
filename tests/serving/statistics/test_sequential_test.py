"""When a candidate is shown worse, when it is shown not worse, and how often either is wrong."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.canary.traffic import SimulatedTraffic, TrafficModel, simulate_traffic
from serving.policy import CanaryRule, Metric
from serving.statistics.sequential_test import Analysis, ShadowCounts, analyse
from serving.statistics.strata import Evidence, strata, stratified_sums

RULE = CanaryRule(error_margin=0.05, slow_margin=1.0, thumbs_down_margin=1.0)
SECOND = 1_000_000


def drawn(
    candidate_rate: float, stable_rate: float = 0.05, rows: int = 4_000, users: int = 1_000, seed: int = 1
) -> Evidence:
    """Requests of users with one rate, a second apart, on the first step and then the second."""
    generator = np.random.default_rng(seed)
    unit = generator.integers(0, users, rows)
    share = np.where(np.arange(rows) < rows // 4, RULE.steps[0], RULE.steps[1])
    candidate = generator.random(users)[unit] < share
    bad = generator.random(rows) < np.where(candidate, candidate_rate, stable_rate)
    time = np.arange(rows) * SECOND
    return Evidence(time=time, unit=unit, candidate=candidate, bad=bad, widened=(int(time[rows // 4]),))


def analysed(evidence: Evidence, rule: CanaryRule = RULE, shadow: ShadowCounts | None = None) -> Analysis:
    return analyse({Metric.ERROR: evidence}, rule, shadow)


def row_by_row(evidence: Evidence) -> Iterator[tuple[float, float]]:
    """Weight and weighted difference of each stratum, row by row (Mantel and Haenszel 1959)."""
    rows = sorted(zip(evidence.time, evidence.candidate, evidence.bad, strict=True), key=lambda row: row[0])
    time = np.array([row[0] for row in rows])
    starts = [*strata(time, evidence.widened), len(rows)]
    for begin, end in pairwise(starts):
        candidate = [row[2] for row in rows[begin:end] if row[1]]
        stable = [row[2] for row in rows[begin:end] if not row[1]]
        if candidate and stable:
            weight = len(candidate) * len(stable) / (len(candidate) + len(stable))
            yield weight, weight * (sum(candidate) / len(candidate) - sum(stable) / len(stable))


def test_the_difference_is_that_of_mantel_and_haenszel() -> None:
    evidence = drawn(0.15)
    weights, differences = zip(*row_by_row(evidence), strict=True)
    sums = stratified_sums(evidence)

    assert sums.weight.sum() == pytest.approx(sum(weights))
    assert sums.difference.sum() == pytest.approx(sum(differences))
    assert analysed(evidence).metrics[0].difference == pytest.approx(sum(differences) / sum(weights))


def test_the_variance_is_that_of_other_assignments_of_the_same_users() -> None:
    generator = np.random.default_rng(5)
    model = TrafficModel(rate=0.1, users=60, tail=1.5, intraclass_correlation=0.2, requests=1_500)
    base = simulate_traffic(model, generator)
    same = replace(base, bad=np.repeat(base.bad[:, :, :1], 2, axis=2))  # equal for every user
    rule = CanaryRule(steps=[0.3, 0.6], min_users=5)
    cuts = (500,)
    differences, sums = [], None
    for _ in range(1_500):
        place = generator.random(60)
        sums = stratified_sums(_assigned(same, place, rule, cuts))
        differences.append(sums.difference.sum())
    assert sums is not None
    steps = np.array(rule.steps)
    covariance = np.minimum.outer(steps, steps) - np.outer(steps, steps)
    expected = float(np.einsum("is,st,it->", sums.residual, covariance, sums.residual))

    assert np.mean(differences) == pytest.approx(0, abs=4 * np.std(differences) / math.sqrt(len(differences)))
    assert np.var(differences) == pytest.approx(expected, rel=0.15)


def test_the_evidence_of_harm_is_one_on_average_over_other_assignments_of_the_same_users() -> None:
    generator = np.random.default_rng(6)
    model = TrafficModel(rate=0.1, users=40, tail=1.5, intraclass_correlation=0.2, requests=600)
    base = simulate_traffic(model, generator)
    rule = CanaryRule(steps=[0.3, 0.6], min_users=5)
    values = [
        math.exp(analysed(_assigned(base, generator.random(40), rule, (200,)), rule).metrics[0].log_e_worse)
        for _ in range(1_000)
    ]

    assert np.mean(values) == pytest.approx(1, abs=float(4 * np.std(values) / math.sqrt(len(values))))
    assert np.std(values) > 0.3


def _assigned(base: SimulatedTraffic, place: np.ndarray, rule: CanaryRule, cuts: tuple[int, ...]) -> Evidence:
    share = np.array(rule.steps)[np.searchsorted(cuts, np.arange(len(base.user)), side="right")]
    return Evidence(
        time=base.time,
        unit=base.user,
        candidate=place[base.user] < share,
        bad=base.bad[0, :, 0],
        widened=tuple(int(base.time[row]) for row in cuts),
    )


def test_a_doubled_bad_rate_is_shown_worse_and_an_equal_one_not_worse() -> None:
    worse, equal = analysed(drawn(0.10)), analysed(drawn(0.05))

    assert worse.worse
    assert not worse.not_worse
    assert equal.not_worse
    assert not equal.worse


def test_a_trend_that_both_arms_share_is_no_difference() -> None:
    # Quiet while nine in ten are stable; then everything fails often, half of it on the candidate.
    evidence = drawn(0.05, rows=4_000)
    late = np.arange(len(evidence)) >= 1_000
    storm = np.random.default_rng(2).random(len(evidence)) < np.where(late, 0.4, 0.02)
    assert storm[evidence.candidate].mean() > storm[~evidence.candidate].mean() + 0.05

    analysis = analysed(replace(evidence, bad=storm))

    assert not analysis.worse
    assert abs(analysis.metrics[0].difference) < 0.04


def test_one_user_is_little_evidence_however_many_requests_the_user_sends() -> None:
    evidence = drawn(0.02, stable_rate=0.02, rows=2_000)
    candidate_user = evidence.unit[evidence.candidate][0]
    flood = np.arange(len(evidence)) % 3 == 0
    unit = np.where(flood, candidate_user, evidence.unit)
    places = np.random.default_rng(1).random(1_000)
    candidate = np.where(flood, True, places[evidence.unit] < 0.1)
    analysis = analysed(replace(evidence, unit=unit, candidate=candidate, bad=flood | evidence.bad, widened=()))

    assert analysis.metrics[0].difference > 0.3
    assert analysis.metrics[0].design_effect > 20
    assert not analysis.worse


def test_the_design_effect_is_the_variance_of_estimates_that_leave_one_user_out() -> None:
    # One stratum, half its requests on either arm: there the difference is that of two means, and the jackknife's
    # variance of it is a sum over users (Bell and McCaffrey 2002, Survey Methodology 28(2)).
    generator = np.random.default_rng(8)
    unit = np.concatenate([np.repeat(np.arange(5), 10), np.repeat(np.arange(5, 9), [5, 10, 15, 20])])
    bad = generator.random(100) < generator.beta(0.5, 1.0, 9)[unit]
    candidate = unit < 5
    rows = Evidence(time=np.arange(100), unit=unit, candidate=candidate, bad=bad)

    def gap(kept: np.ndarray) -> float:
        return float(bad[candidate & kept].mean() - bad[~candidate & kept].mean())

    whole = gap(np.ones(100, bool))
    jackknife = sum((gap(unit != user) - whole) ** 2 for user in range(9))
    single = sum(bad[arm].var() / arm.sum() for arm in (candidate, ~candidate))
    halved = replace(RULE, steps=[0.5])

    assert analysed(rows, halved).metrics[0].design_effect == pytest.approx(jackknife / single)


def test_where_one_user_is_all_of_an_arm_non_inferiority_is_not_shown() -> None:
    evidence = drawn(0.0, stable_rate=0.3)
    alone = replace(evidence, unit=np.where(evidence.candidate, -1, evidence.unit))

    assert analysed(evidence).not_worse
    assert analysed(alone).metrics[0].log_e_not_worse == 0.0
    assert math.isfinite(analysed(alone).metrics[0].design_effect)


def test_pairs_of_the_shadow_count_as_errors_and_only_as_errors() -> None:
    worse = analyse({}, RULE, ShadowCounts(pairs=200, candidate_only=30, baseline_only=1))
    fine = analyse({}, RULE, ShadowCounts(pairs=200, candidate_only=3, baseline_only=3))

    assert worse.worse
    assert [metric.shown_worse for metric in worse.metrics] == [True, False, False]
    assert not fine.worse
    with_pairs = analysed(drawn(0.05), shadow=ShadowCounts(pairs=200, candidate_only=2, baseline_only=2))
    assert with_pairs.metrics[0].log_e_not_worse > analysed(drawn(0.05)).metrics[0].log_e_not_worse


def test_a_metric_without_rows_blocks_a_promotion_unless_it_is_tested_for_harm_only() -> None:
    evidence = drawn(0.05)

    assert analysed(evidence, RULE).not_worse
    assert not analysed(evidence, replace(RULE, thumbs_down_margin=0.1)).not_worse
    assert not analyse({}, RULE).worse


def test_a_metric_tested_for_harm_only_still_rolls_back() -> None:
    analysis = analyse({Metric.ERROR: drawn(0.05), Metric.THUMBS_DOWN: drawn(0.15, seed=2)}, RULE)

    assert analysis.worse
    assert [metric.shown_worse for metric in analysis.metrics] == [False, False, True]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), instants=st.integers(1, 60))
def test_the_order_of_rows_changes_nothing(seed: int, instants: int) -> None:
    generator = np.random.default_rng(seed)
    evidence = drawn(0.1, rows=300, users=40, seed=seed)
    evidence = replace(evidence, time=np.sort(generator.integers(0, instants, 300)), widened=(instants // 2,))
    shuffled = generator.permutation(300)
    reordered = replace(
        evidence,
        time=evidence.time[shuffled],
        unit=evidence.unit[shuffled],
        candidate=evidence.candidate[shuffled],
        bad=evidence.bad[shuffled],
    )

    for metric, other in zip(analysed(evidence).metrics, analysed(reordered).metrics, strict=True):
        assert metric.log_e_worse == pytest.approx(other.log_e_worse, abs=1e-8)
        assert metric.log_e_not_worse == pytest.approx(other.log_e_not_worse, abs=1e-8)
        assert metric.candidate == other.candidate


def test_any_codes_of_the_users_show_the_same() -> None:
    evidence = drawn(0.1, rows=500, users=50)
    others = replace(evidence, unit=1_000 - 7 * evidence.unit)

    assert analysed(others).metrics[0].log_e_worse == pytest.approx(analysed(evidence).metrics[0].log_e_worse)
    assert analysed(others).metrics[0].candidate == analysed(evidence).metrics[0].candidate


def test_a_stratum_never_separates_rows_of_an_instant_and_never_spans_two_steps() -> None:
    time = np.repeat(np.arange(40), 9) * SECOND
    starts = strata(time, (int(time[200]),))

    assert all(begin == 0 or time[begin] != time[begin - 1] for begin in starts)
    assert np.searchsorted(time, time[200], side="left") in starts
    assert np.diff([*starts, len(time)]).max() < 120


def test_more_steps_than_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="widened 3 times, but the rule has only 3 shares"):
        analysed(replace(drawn(0.05), widened=(1, 2, 3)))


@pytest.mark.parametrize(
    "wrong",
    [{"steps": [0.5, 0.1]}, {"steps": []}, {"error_margin": 0.0}, {"slow_margin": 1.5}, {"rollback_error": 0.7}],
)
def test_a_rule_that_cannot_be_followed_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        CanaryRule(**wrong)  # type: ignore[arg-type]


def test_where_neither_arm_has_a_bad_answer_the_candidate_is_shown_not_to_be_worse() -> None:
    quiet = analysed(drawn(0.0, stable_rate=0.0))
    assert (quiet.worse, quiet.not_worse) == (False, True)
    assert not analysed(drawn(0.0, stable_rate=0.0, rows=100)).not_worse


def test_a_candidate_that_is_better_than_a_stable_version_which_is_always_bad_is_shown_not_to_be_worse() -> None:
    better = analysed(drawn(0.7, stable_rate=1.0, rows=1_000))
    assert (better.worse, better.not_worse) == (False, True)
