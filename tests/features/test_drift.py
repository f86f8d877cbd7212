"""Drift compared with scipy, and data that must not count as drift."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp, ttest_ind

from features.drift import MISSING, POINTS, effective, profile, shifts

RNG = np.random.default_rng(0)


def separate_users(rows: int) -> np.ndarray:
    """Each row belongs to another user."""
    return np.arange(rows)


@given(st.integers(50, 400), st.integers(50, 400), st.floats(-3, 3), st.floats(0.5, 2), st.integers(0, 1_000))
def test_with_one_row_per_user_the_p_value_is_that_of_welchs_test(
    before: int, now: int, shift: float, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    reference, current = rng.normal(size=before), rng.normal(shift, scale, now)
    found = shifts(profile("x", reference, separate_users(before)), current, separate_users(now))[0]
    theirs = ttest_ind(current, reference, equal_var=False)
    assert found.size == pytest.approx((current.mean() - reference.mean()) / reference.std())
    ours = abs(found.now - found.was) / np.sqrt(current.var(ddof=1) / now + reference.var(ddof=1) / before)
    assert ours == pytest.approx(abs(theirs.statistic), rel=1e-6)
    assert found.p_value >= theirs.pvalue * 0.99  # fewer degrees of freedom: never smaller than that of Welch


@given(st.integers(200, 2_000), st.floats(-2, 2), st.integers(0, 1_000))
def test_the_distance_is_that_of_kolmogorov_and_smirnov(rows: int, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, current = rng.gamma(2, size=3_000), rng.gamma(2, size=rows) + shift
    found = shifts(profile("x", reference, separate_users(3_000)), current, separate_users(rows))[0]
    assert found.ks == pytest.approx(ks_2samp(reference, current).statistic, abs=2 / POINTS)


def test_a_user_with_half_of_the_rows_counts_as_half_of_the_evidence() -> None:
    assert effective(np.array([0] * 100)) == 1
    assert effective(np.arange(100)) == 100
    assert effective(np.array([0] * 100 + list(range(1, 101)))) == pytest.approx(4, abs=0.1)
    assert effective(np.zeros(0, int)) == 0
    agents = np.array(["auditor"] * 500 + ["bruno"] * 500)
    before = profile("agent_name", agents, np.arange(1_000) % 100)
    moved = np.array(["auditor"] * 900 + ["bruno"] * 100)
    one_user = shifts(before, moved, np.array([0] * 800 + list(range(1, 201))))[0]
    many_users = shifts(before, moved, np.arange(1_000))[0]
    assert one_user.p_value > 0.1 > 1e-9 > many_users.p_value


def test_rows_of_one_user_prove_nothing() -> None:
    before = profile("x", RNG.normal(size=500), separate_users(500))
    found = shifts(before, RNG.normal(5, 1, 300), np.zeros(300, int))[0]
    assert found.size > 4
    assert found.p_value == 1.0


def test_correlated_rows_of_few_users_raise_no_more_false_alarms() -> None:
    rng, alarms = np.random.default_rng(4), 0
    for _ in range(400):
        levels = rng.normal(size=130)
        users = np.repeat(np.arange(100), 20)
        before = profile("x", levels[users] + 0.1 * rng.normal(size=2_000), users)
        now = np.repeat(np.arange(100, 130), 20)
        alarms += shifts(before, levels[now] + 0.1 * rng.normal(size=600), now)[0].p_value < 0.01
    assert alarms <= 4 + 3 * np.sqrt(4)


def test_an_unchanged_constant_is_no_drift_and_a_changed_one_is() -> None:
    before = profile("uptime", np.full(500, 100.0), separate_users(500))
    assert shifts(before, np.full(80, 100.0), separate_users(80))[0].psi == pytest.approx(0, abs=0.01)
    moved = shifts(before, np.full(80, 40.0), separate_users(80))[0]
    assert moved.kind == "shares"
    assert moved.size > 1
    assert moved.p_value < 1e-9


def test_a_new_category_is_named() -> None:
    before = profile("agent", np.array(["auditor", "bruno"] * 200), separate_users(400))
    found = shifts(before, np.array(["auditor", "nova"] * 100), separate_users(200))[0]
    assert found.moved in ("bruno", "nova")
    assert found.size > 0.25
    assert found.p_value < 1e-9


def test_a_feature_that_goes_missing_is_a_shift_of_missing_values_only() -> None:
    before = profile("x", RNG.normal(size=400), separate_users(400))
    (found,) = shifts(before, np.full(100, np.nan), separate_users(100))
    assert (found.kind, found.was, found.now) == ("missing", 0.0, 1.0)
    assert found.p_value < 1e-9
    words = profile("w", np.array([MISSING] * 50), separate_users(50))
    assert [shift.kind for shift in shifts(words, np.array(["a"] * 50), separate_users(50))] == ["missing"]


def test_without_rows_on_either_side_there_is_no_shift() -> None:
    before = profile("x", RNG.normal(size=100), separate_users(100))
    assert shifts(before, np.zeros(0), np.zeros(0, int)) == []
    assert shifts(profile("x", np.zeros(0), np.zeros(0, int)), RNG.normal(size=50), separate_users(50)) == []


def test_shifts_of_the_references_own_days_are_its_daily_variability() -> None:
    days = np.repeat(np.arange(28), 100)
    sunday = days % 7 == 6
    mix = np.where(RNG.random(2_800) < np.where(sunday, 0.9, 0.3), "bruno", "auditor")
    users = RNG.integers(0, 1_000, 2_800)
    varying = profile("agent", mix, users, days)
    assert varying.days == 28
    assert varying.daily_variability["shares"] > 0.5
    again = shifts(varying, np.where(RNG.random(200) < 0.9, "bruno", "auditor"), separate_users(200))[0]
    assert again.size < again.daily_variability + 0.25
    steady = profile("x", RNG.normal(size=2_800), users, days)
    assert steady.daily_variability.get("mean", 0.0) < 0.6
