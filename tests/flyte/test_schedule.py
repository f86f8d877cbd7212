"""The calendar: what a cluster is told of a schedule, and who is told of a failure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest
from flytekit import task, workflow
from flytekit.core.launch_plan import LaunchPlan

from launchplans.docs import page, plans
from launchplans.schedule import cadence, on_demand, scheduled
from settings import settings
from tests.flyte.conftest import serialized


@task
def _see(kickoff: datetime, every_minutes: int, schedule: str, depth: int) -> int:
    return every_minutes * depth


@workflow
def _look(kickoff: datetime, every_minutes: int, schedule: str, depth: int = 1) -> int:
    """Look around."""
    return _see(kickoff=kickoff, every_minutes=every_minutes, schedule=schedule, depth=depth)


@workflow
def _timeless(depth: int = 1) -> int:
    """Look around whenever."""
    return depth


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    known = dict(LaunchPlan.CACHE)
    settings.cache_clear()
    yield
    LaunchPlan.CACHE.clear()
    LaunchPlan.CACHE.update(known)
    settings.cache_clear()


def spec(plan: LaunchPlan) -> dict[str, Any]:
    found: dict[str, Any] = serialized(plan)["spec"]
    return found


def test_a_schedule_names_its_time_zone_and_hands_over_time_interval_and_name() -> None:
    plain = spec(scheduled("looks", _look, "15 * * * *", owner="platform", fixed_inputs={"depth": 3}))
    assert plain["entityMetadata"]["schedule"] == {
        "cronSchedule": {"schedule": "CRON_TZ=UTC 15 * * * *"},
        "kickoffTimeInputArg": "kickoff",
    }
    fixed = plain["fixedInputs"]["literals"]
    assert fixed["every_minutes"]["scalar"]["primitive"]["integer"] == "60"
    assert fixed["schedule"]["scalar"]["primitive"]["stringValue"] == "looks"
    assert fixed["depth"]["scalar"]["primitive"]["integer"] == "3"
    assert set(plain["defaultInputs"]["parameters"]) == {"kickoff"}
    assert plain["concurrencyPolicy"]["max"] == 1


def test_labels_say_whose_it_is_what_it_is_and_how_often() -> None:
    plain = spec(scheduled("looks", _look, "0 6 * * 1", owner="ml-platform", time_zone="America/Sao_Paulo"))
    assert plain["labels"]["values"] == {"owner": "ml-platform", "component": "test_schedule", "cadence": "weekly"}
    assert plain["annotations"]["values"] == {
        "fuelline/time-zone": "America/Sao_Paulo",
        "fuelline/schedule": "every Monday at 06:00 America/Sao_Paulo",
    }


def test_a_workflow_without_such_inputs_is_given_neither_time_nor_interval() -> None:
    plain = spec(scheduled("timeless", _timeless, "30 4 * * *", owner="platform", one_at_a_time=False))
    assert "kickoffTimeInputArg" not in plain["entityMetadata"]["schedule"]
    assert "concurrencyPolicy" not in plain


def test_each_alert_address_is_told_of_every_end_that_is_not_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = scheduled("looks", _look, "15 * * * *", owner="platform")
    assert "notifications" not in spec(plan)["entityMetadata"]
    monkeypatch.setenv("FUELLINE_ALERTS", "ops@home.example, pager@duty.example")
    settings.cache_clear()
    [told] = spec(plan)["entityMetadata"]["notifications"]
    assert told["email"]["recipientsEmail"] == ["ops@home.example", "pager@duty.example"]
    assert set(told["phases"]) == {"FAILED", "TIMED_OUT", "ABORTED"}


def test_a_plan_on_demand_has_no_schedule_and_the_same_labels() -> None:
    plain = spec(on_demand("looks_now", _look, owner="platform", default_inputs={"depth": 2}))
    assert "schedule" not in plain["entityMetadata"]
    assert plain["labels"]["values"]["cadence"] == "on-demand"
    assert plain["defaultInputs"]["parameters"]["depth"]["default"]["scalar"]["primitive"]["integer"] == "2"


@pytest.mark.parametrize(
    ("cron", "words", "every"),
    [
        ("*/10 * * * *", "every 10 minutes", timedelta(minutes=10)),
        ("5 * * * *", "every hour at :05", timedelta(hours=1)),
        ("20 */6 * * *", "every 6 hours at :20", timedelta(hours=6)),
        ("0 2 * * *", "every day at 02:00", timedelta(days=1)),
        ("0 6 * * 7", "every Sunday at 06:00", timedelta(days=7)),
    ],
)
def test_a_cron_expression_is_told_in_words_and_has_one_interval(cron: str, words: str, every: timedelta) -> None:
    told = cadence(cron)
    assert (told.description, told.every) == (words, every)


@pytest.mark.parametrize("cron", ["*/7 * * * *", "0 2 1 * *", "0 2 * 3 *", "5,35 * * * *", "*/5 2 * * *", "61 * * * *"])
def test_a_cron_expression_without_one_interval_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"constant interval|evenly|Schedule is invalid"):
        cadence(cron)


def test_a_time_zone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        scheduled("nowhere", _look, "15 * * * *", owner="platform", time_zone="America/Homelab")


def test_the_page_of_launch_plans_is_up_to_date() -> None:
    committed = Path(__file__).parents[2] / "docs" / "launchplans.md"
    assert committed.read_text() == page(), "run: fuelline docs launchplans > docs/launchplans.md"


def test_every_launch_plan_is_on_the_page_with_its_inputs() -> None:
    told = page()
    for plan in plans():
        section = told.partition(f"\n## {plan.name}\n")[2].partition("\n## ")[0]
        for name in plan.workflow.python_interface.inputs:
            assert f"| `{name}` |" in section, plan.name
