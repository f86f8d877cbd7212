"""A few weeks of the simulation against the known truth: the same code as ``make simulate``, in seconds."""

from dataclasses import replace
from itertools import pairwise

from benchmarks.simulation.doubling import doubled
from benchmarks.simulation.play import Play
from benchmarks.simulation.report import alarms, evaluate
from benchmarks.simulation.scenarios import Cause, Scenario
from benchmarks.simulation.world import Recipe, failing, longer, steady

RECIPE = Recipe(days=46, seed=8, daily_calls=600, error_rate=0.08)
ANY = ("error_rate", "drift", "feedback")


def play(scenario: Scenario) -> tuple[Play, list[str]]:
    played = Play(scenario.world(), scenario.rules, scenario.training_hours, scenario.fails)
    played.run(scenario.first_day, scenario.days)
    return played, [change.result for change in evaluate(scenario, played.checks)]


def test_three_weeks_without_changes_train_by_schedule_only() -> None:
    quiet = Scenario(name="quiet", world=lambda: steady(RECIPE), days=46, first_day=25)
    played, results = play(quiet)
    assert results == ["silent"]
    started = [check for check in played.checks if check.decision.outcome == "started"]
    assert {check.decision.trigger for check in started} == {"schedule"}
    gaps = [later.day - earlier.day for earlier, later in pairwise(started)]
    assert all(6.9 < gap < 7.3 for gap in gaps)


def test_a_doubled_rate_and_a_later_shift_fire_once_each() -> None:
    two = Scenario(
        name="two causes",
        world=lambda: longer(failing(steady(RECIPE), 2.5, 32.5), 4.0, 42.5),
        days=46,
        first_day=30,
        causes=[
            Cause(what="errors", day=32.5, triggers=ANY, within_hours=24, over_day=42.5),
            Cause(what="lengths", day=42.5, triggers=ANY, within_hours=24),
        ],
    )
    assert play(two)[1] == ["ok", "ok"]


def test_failed_trainings_wait_longer_each_time_and_the_cause_stays_one() -> None:
    failing_trainings = Scenario(
        name="failing trainings",
        world=lambda: failing(steady(RECIPE), 3.0, 32.5),
        days=38,
        first_day=31,
        causes=[Cause(what="errors", day=32.5, triggers=ANY, within_hours=24)],
        fails=lambda number: 2 <= number < 6,
    )
    played, results = play(failing_trainings)
    assert results == ["ok"]
    tried = [check.day for check in played.checks if check.decision.outcome == "started"][1:6]
    waits = [later - earlier for earlier, later in pairwise(tried)]
    assert waits == sorted(waits)
    assert len(alarms(played.checks)) == 1


def test_checks_in_the_same_second_start_one_training() -> None:
    both = Scenario(
        name="all at once",
        world=lambda: longer(failing(steady(replace(RECIPE, days=36)), 6.0, 33), 8.0, 33),
        days=36,
        first_day=31,
    )
    played, _ = play(both)
    started = [check.day for check in played.checks if check.decision.outcome == "started"]
    assert len(started) == len(set(started))


def test_a_doubled_rate_at_a_hundred_errors_a_day_is_detected_within_a_day_as_predicted() -> None:
    found = doubled(100, 3)
    assert found.within_a_day == 1.0
    assert found.as_predicted == 1.0
