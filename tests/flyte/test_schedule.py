"""Schedules as a cluster receives them, and the notifications of failures."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest
from flytekit import task, workflow
from flytekit.core.launch_plan import LaunchPlan

from launchplans.docs import page
from launchplans.registry import launch_plans
from launchplans.schedule import cadence, on_demand, scheduled
from settings import settings
from tests.flyte.conftest import serialized


@task
def _multiply(kickoff: datetime, every_minutes: int, schedule: str, depth: int) -> int:
    return every_minutes * depth


@workflow
def _timed(kickoff: datetime, every_minutes: int, schedule: str, depth: int = 1) -> int:
    """A workflow with the inputs of a schedule."""
    return _multiply(kickoff=kickoff, every_minutes=every_minutes, schedule=schedule, depth=depth)


@workflow
def _timeless(depth: int = 1) -> int:
    """A workflow without them."""
    return depth


@pytest.fixture(autouse=True)
def _fresh_plans() -> Iterator[None]:
    known = dict(LaunchPlan.CACHE)
    settings.cache_clear()
    yield
    LaunchPlan.CACHE.clear()
    LaunchPlan.CACHE.update(known)
    settings.cache_clear()


def spec(plan: LaunchPlan) -> dict[str, Any]:
    found: dict[str, Any] = serialized(plan)["spec"]
    return found


def test_a_schedule_has_a_time_zone_and_passes_time_interval_and_name() -> None:
    plain = spec(scheduled("looks", _timed, "15 * * * *", owner="platform", fixed_inputs={"depth": 3}))
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


def test_labels_have_owner_component_and_cadence() -> None:
    plain = spec(scheduled("looks", _timed, "0 6 * * 1", owner="ml-platform", time_zone="America/Sao_Paulo"))
    assert plain["labels"]["values"] == {"owner": "ml-platform", "component": "test_schedule", "cadence": "weekly"}
    assert plain["annotations"]["values"] == {
        "fuelline/time-zone": "America/Sao_Paulo",
        "fuelline/schedule": "every Monday at 06:00 America/Sao_Paulo",
    }


def test_a_workflow_without_these_inputs_gets_neither_time_nor_interval() -> None:
    plain = spec(scheduled("timeless", _timeless, "30 4 * * *", owner="platform", one_at_a_time=False))
    assert "kickoffTimeInputArg" not in plain["entityMetadata"]["schedule"]
    assert "concurrencyPolicy" not in plain


def test_each_alert_address_is_notified_of_every_end_but_success(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = scheduled("looks", _timed, "15 * * * *", owner="platform")
    assert "notifications" not in spec(plan)["entityMetadata"]
    monkeypatch.setenv("FUELLINE_ALERTS", "ops@home.example, pager@duty.example")
    settings.cache_clear()
    [notification] = spec(plan)["entityMetadata"]["notifications"]
    assert notification["email"]["recipientsEmail"] == ["ops@home.example", "pager@duty.example"]
    assert set(notification["phases"]) == {"FAILED", "TIMED_OUT", "ABORTED"}


def test_a_launch_plan_on_demand_has_the_same_labels_and_no_schedule() -> None:
    plain = spec(on_demand("looks_now", _timed, owner="platform", default_inputs={"depth": 2}))
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
def test_a_cron_expression_is_described_in_words_and_has_one_interval(cron: str, words: str, every: timedelta) -> None:
    found = cadence(cron)
    assert (found.description, found.every) == (words, every)


@pytest.mark.parametrize("cron", ["*/7 * * * *", "0 2 1 * *", "0 2 * 3 *", "5,35 * * * *", "*/5 2 * * *", "61 * * * *"])
def test_a_cron_expression_without_one_interval_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"constant interval|evenly|Schedule is invalid"):
        cadence(cron)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        scheduled("nowhere", _timed, "15 * * * *", owner="platform", time_zone="America/Homelab")


def test_the_page_of_launch_plans_is_up_to_date() -> None:
    committed = Path(__file__).parents[2] / "docs" / "launchplans.md"
    assert committed.read_text() == page(), "run: fuelline docs launchplans > docs/launchplans.md"


def test_every_launch_plan_is_on_the_page_with_its_inputs() -> None:
    text = page()
    for plan in launch_plans().values():
        section = text.partition(f"\n## {plan.name}\n")[2].partition("\n## ")[0]
        for name in plan.workflow.python_interface.inputs:
            assert f"| `{name}` |" in section, plan.name
