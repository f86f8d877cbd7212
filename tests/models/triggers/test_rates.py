"""Rates against independent implementations, levels against simulated checks."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact, norm

from models.triggers.counts import ALL, DAY, HOUR, HOURLY, DispersionEstimate, HourlyCounts, Rate
from models.triggers.power import sensitivity
from models.triggers.rates import FalseAlarmBudget, ReferenceWindow, compare, level
from models.triggers.significance import dispersion_weights, p_values

END = datetime(2026, 11, 2, tzinfo=UTC)
WINDOWS, MONTH = (DAY, 4 * DAY), 28 * DAY


def table(calls: np.ndarray, bad: np.ndarray, agents: tuple[str, ...] = ("bruno",)) -> pa.Table:
    """Hourly counts [hours, agents] that end at ``END``."""
    hours = [END - (len(calls) - place) * HOUR for place in range(len(calls)) for _ in agents]
    columns = [pa.array(hours, HOURLY.field("hour").type), pa.array(list(agents) * len(calls), pa.string())]
    return pa.table([*columns, pa.array(calls.ravel(), pa.int64()), pa.array(bad.ravel(), pa.int64())], schema=HOURLY)


def counts(bad: np.ndarray, calls: int = 50) -> HourlyCounts:
    shaped = bad.reshape(len(bad), -1)
    names = ("auditor", "bruno", "jamie")[: shaped.shape[1]]
    start = END - len(bad) * HOUR
    return HourlyCounts.of([table(np.full(shaped.shape, calls), shaped, names)], start, END)


def p_value_of_more(reference: Rate, current: Rate, dispersion: DispersionEstimate | None = None) -> float:
    phi, weight = (np.ones(1), np.ones(1)) if dispersion is None else dispersion_weights([dispersion])
    return float(p_values(phi, weight, np.array([reference], float), np.array([current], float)).item())


def references(days: int, windows: tuple[timedelta, ...] = WINDOWS) -> dict[timedelta, ReferenceWindow]:
    start = END - days * DAY
    return {window: ReferenceWindow(start=start, end=END - window, dispersion_start=start) for window in windows}


def budget(false_alarms: float = 0.6) -> FalseAlarmBudget:
    return FalseAlarmBudget(false_alarms=false_alarms, interval=HOUR, windows=WINDOWS, reference=MONTH)


@given(
    bad=st.tuples(st.integers(0, 60), st.integers(1, 60)),
    calls=st.tuples(st.integers(20_000, 90_000), st.integers(20_000, 90_000)),
)
def test_of_rare_events_the_p_value_is_that_of_the_conditional_binomial_test(
    bad: tuple[int, int], calls: tuple[int, int]
) -> None:
    ours = p_value_of_more(Rate(calls=calls[0], bad=bad[0]), Rate(calls=calls[1], bad=bad[1]))
    theirs = binomtest(bad[1], sum(bad), calls[1] / sum(calls), alternative="greater").pvalue
    assert ours == pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize(
    ("bad", "calls"), [((300, 40), (3_000, 250)), ((900, 260), (3_000, 700)), ((40, 30), (400, 120))]
)
def test_of_frequent_events_the_p_value_is_that_of_fishers_exact_test(
    bad: tuple[int, int], calls: tuple[int, int]
) -> None:
    ours = p_value_of_more(Rate(calls=calls[0], bad=bad[0]), Rate(calls=calls[1], bad=bad[1]))
    rows = [[bad[1], calls[1] - bad[1]], [bad[0], calls[0] - bad[0]]]
    assert np.log(ours) == pytest.approx(np.log(fisher_exact(rows, alternative="greater").pvalue), rel=0.1)


@given(bad=st.integers(1, 200), more=st.integers(1, 50))
def test_the_p_value_falls_with_more_bad_events_and_rises_with_the_dispersion(bad: int, more: int) -> None:
    before, spread = Rate(calls=28_000, bad=1_400), DispersionEstimate(statistic=54.0, degrees_of_freedom=27)
    few, many = (Rate(calls=1_000, bad=count) for count in (bad, bad + more))
    assert p_value_of_more(before, many, spread) <= p_value_of_more(before, few, spread)
    assert p_value_of_more(
        before, Rate(calls=1_000, bad=80), DispersionEstimate(statistic=108.0, degrees_of_freedom=27)
    ) > p_value_of_more(before, Rate(calls=1_000, bad=80), spread)


def test_a_short_reference_gives_larger_p_values_than_a_long_one() -> None:
    before, now = Rate(calls=28_000, bad=1_400), Rate(calls=1_000, bad=90)
    chances = [
        p_value_of_more(before, now, DispersionEstimate(statistic=float(days), degrees_of_freedom=days))
        for days in (2, 6, 27, 59)
    ]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 100 * chances[-1]


@pytest.mark.parametrize(("dispersion", "at_most"), [(1.0, 1.0), (2.0, 2.0), (4.0, 2.5)])
def test_days_of_unknown_dispersion_raise_no_more_alarms_than_the_level_allows(
    dispersion: float, at_most: float
) -> None:
    rng, mean, allowed = np.random.default_rng(7), 50.0, 0.002
    size = (2_000, 61)
    days = rng.poisson(rng.gamma(mean / (dispersion - 1), dispersion - 1, size) if dispersion > 1 else mean, size)
    alarms = 0
    for *reference, now in days:
        expected = np.mean(reference)
        spread = DispersionEstimate(
            statistic=float(((reference - expected) ** 2 / expected).sum()), degrees_of_freedom=59
        )
        before = Rate(calls=28_000, bad=float(sum(reference[-28:])))
        alarms += p_value_of_more(before, Rate(calls=1_000, bad=float(now)), spread) < allowed
    assert alarms <= at_most * allowed * len(days) + 3 * np.sqrt(allowed * len(days))


def test_the_level_gives_sliding_windows_the_stated_number_of_alarm_clusters() -> None:
    rng, years, alarms = np.random.default_rng(3), 300, 2.0
    hourly = rng.normal(size=years * 365 * 24)
    summed = np.convolve(hourly, np.ones(24), "valid") / np.sqrt(24)
    over = np.flatnonzero(summed > norm.isf(level(alarms, DAY, HOUR, MONTH)))
    clumps = 1 + int((np.diff(over) > 24).sum())
    assert 0.6 * alarms < clumps / years < 1.2 * alarms


def test_a_sliding_reference_raises_no_more_alarm_clusters() -> None:
    rng, years, alarms, window = np.random.default_rng(4), 400, 2.0, 8 * 24
    total = np.concatenate([[0.0], rng.normal(size=years * 365 * 24).cumsum()])
    ends = np.arange(2 * window, len(total))
    now, before = total[ends] - total[ends - window], total[ends - window] - total[ends - 2 * window]
    over = np.flatnonzero((now - before) / np.sqrt(2 * window) > norm.isf(level(alarms, 8 * DAY, HOUR, 8 * DAY)))
    clumps = 1 + int((np.diff(over) > window).sum())
    assert 0.6 * alarms < clumps / years < 1.2 * alarms


def test_the_level_is_never_below_that_of_independent_checks() -> None:
    for window in (DAY, 8 * DAY, 32 * DAY):
        assert level(0.6, window, HOUR, MONTH) >= 0.6 / 8_760
    assert level(0.6, DAY, DAY, MONTH) == pytest.approx(0.6 / 365, rel=0.5)
    assert level(0.6, 32 * DAY, HOUR, MONTH) > level(0.6, DAY, HOUR, MONTH)


def test_a_doubled_rate_is_detected_and_an_unchanged_one_is_not() -> None:
    rng = np.random.default_rng(1)
    bad = rng.poisson(50 / 24, 60 * 24)
    assert not any(part.fires(0.1) for part in compare(counts(bad), END, references(60), budget()))
    bad[-24:] = rng.poisson(100 / 24, 24)
    first = compare(counts(bad), END, references(60), budget())[0]
    assert (first.slice, first.days) == (ALL, 1.0)
    assert first.fires(0.1)


def test_more_traffic_to_an_agent_that_fails_more_is_no_rise() -> None:
    calls = np.full((40 * 24, 2), 50)
    bad = np.tile([1, 10], (40 * 24, 1))
    calls[-24:], bad[-24:] = [10, 90], [0, 18]
    start = END - len(calls) * HOUR
    hourly = HourlyCounts.of([table(calls, bad, ("auditor", "jamie"))], start, END)
    first = compare(hourly, END, references(40), budget())[0]
    assert first.rise == pytest.approx(0.0, abs=0.02)


def test_the_false_alarms_are_divided_completely() -> None:
    found = compare(counts(np.ones((40 * 24, 3), int)), END, references(40), budget())
    assert [part.slice for part in found[:4]] == [ALL, "auditor", "bruno", "jamie"]
    assert found[0].level == pytest.approx(level(0.6 * 0.9 * 0.9, DAY, HOUR, MONTH))
    assert found[1].level == pytest.approx(level(0.6 * 0.9 * (1 - 0.9) / 3, DAY, HOUR, MONTH))


def test_without_calls_or_without_a_reference_there_is_no_comparison() -> None:
    nothing, some = Rate(calls=0, bad=0), Rate(calls=100, bad=5)
    assert p_value_of_more(nothing, some) == p_value_of_more(some, nothing) == 1.0
    assert p_value_of_more(some, Rate(calls=100, bad=0), DispersionEstimate()) == 1.0
    empty = HourlyCounts.of([HOURLY.empty_table()], END - 40 * DAY, END)
    assert compare(empty, END, references(40), budget()) == []
    assert compare(empty, END, {}, budget()) == []


def test_errors_after_a_reference_without_errors_are_a_rise() -> None:
    bad = np.zeros(60 * 24, int)
    bad[-6:] = 2
    first = compare(counts(bad), END, references(60), budget())[0]
    assert first.rise == np.inf
    assert first.fires(0.1)


def test_detection_delay_and_minimum_detectable_effect_fall_with_traffic() -> None:
    rng = np.random.default_rng(5)
    sensitivities = []
    for rate in (2, 20, 200):
        found = compare(counts(rng.poisson(rate / 24, 60 * 24), calls=200), END, references(60), budget())
        sensitivities.append(sensitivity(found, 4_800, budget()))
    assert [power.days_to_detect_doubling for power in sensitivities] == [np.inf, 4.0, 1.0]
    assert sensitivities[2].minimum_detectable_effect < sensitivities[1].minimum_detectable_effect


def test_the_start_and_the_end_of_a_cause_are_estimated_to_the_hour() -> None:
    rng = np.random.default_rng(2)
    bad = rng.poisson(3, 30 * 24)
    began, ended = END - 7 * DAY, END - 6 * DAY
    bad[-7 * 24 : -6 * 24] += rng.poisson(12, 24)
    hourly = counts(bad)
    found = hourly.onset(ALL, END - 7 * DAY - 12 * HOUR, ended, 3 / 50)
    assert abs(found - began) <= HOUR
    over = hourly.recovery(found, END, 3 / 50)
    assert over is not None
    assert abs(over - ended) <= 2 * HOUR
    assert hourly.recovery(began, ended, 3 / 50) is None


@given(st.lists(st.tuples(st.integers(0, 71), st.sampled_from(["auditor", "bruno"]), st.integers(1, 9)), max_size=40))
def test_counts_do_not_depend_on_the_order_of_the_rows(rows: list[tuple[int, str, int]]) -> None:
    start = END - 3 * DAY
    columns = [
        pa.array([start + hour * HOUR for hour, _, _ in rows], HOURLY.field("hour").type),
        pa.array([name for _, name, _ in rows], pa.string()),
        pa.array([many for _, _, many in rows], pa.int64()),
        pa.array([1 for _ in rows], pa.int64()),
    ]
    hourly = HourlyCounts.of([pa.table(columns, schema=HOURLY), HOURLY.empty_table()], start, END)
    for low, high in ((0, 72), (24, 48), (10, 11)):
        found = hourly.rates(start + low * HOUR, start + high * HOUR)
        for name in ("auditor", "bruno"):
            own = [many for hour, agent, many in rows if agent == name and low <= hour < high]
            assert (found[name].calls, found[name].bad) == (sum(own), len(own)) if own else name not in found
