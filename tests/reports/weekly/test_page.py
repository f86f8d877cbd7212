"""The weekly report: the right numbers of the right week, written once, without user data."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from errors import UserError
from lake.contracts.agent_interactions import AGENT_FEEDBACK, AGENT_INTERACTIONS
from lake.ingest.pipeline import Ingester
from lake.lake import Lake, open_lake
from lake.windows import BEGINNING, Window
from reports.weekly.activity import ALL, Activity, Week, activities, monday, weeks_of
from reports.weekly.page import excerpt, headline, local_copy, write_past_week, write_week
from reports.weekly.sections import models_section
from settings import Settings
from tests.lake.rows import interaction, lines, table

WEEK = Week(start=datetime(2026, 10, 5, tzinfo=UTC))


def base(model: str, at: datetime) -> str:
    return "base"


def row(number: int, at: datetime, **changes: Any) -> dict[str, Any]:
    return interaction(number, **{"timestamp": at.isoformat(), "agent_name": "bruno", **changes})


def rows() -> Iterator[dict[str, Any]]:
    """Ten calls of bruno this week, the last of them failed; five the week before; one in the first instant after."""
    for number in range(10):
        at = WEEK.start + timedelta(hours=number * 17)
        yield row(number, at, latency_ms=100 * (number + 1), tokens_used=5, error=number == 9, feedback=None)
    for number in range(10, 15):
        yield row(number, WEEK.start - timedelta(minutes=number), latency_ms=2000, tokens_used=1, feedback=1)
    yield row(20, WEEK.end, latency_ms=30_000)


@pytest.fixture
def week_lake(settings: Settings) -> Lake:
    lake = open_lake(settings, clock=lambda: WEEK.end + timedelta(hours=6))
    lake.tables.append(AGENT_INTERACTIONS, table(rows()), key="rows")
    return lake


def test_a_week_counts_the_requests_from_its_monday_to_the_next_one(week_lake: Lake) -> None:
    version = week_lake.tables.current(AGENT_INTERACTIONS)
    assert version
    now = activities(week_lake, version, WEEK)
    bruno = now.of("bruno")
    assert (bruno.interactions, bruno.tokens, bruno.error_rate) == (10, 50, 0.1)
    assert (bruno.p50_ms, bruno.p95_ms) == (500, 900)
    assert now.of(ALL) == Activity(**{n: getattr(bruno, n) for n in bruno.__dataclass_fields__} | {"agent": ALL})
    assert now.days == {"bruno": (2, 1, 2, 1, 2, 1, 1)}
    assert activities(week_lake, version, WEEK.before).of("bruno").interactions == 5
    assert now.of("jamie") == Activity(agent="jamie")


def test_the_latest_feedback_before_the_end_of_the_week_counts(week_lake: Lake) -> None:
    ratings = [("i000000", 0, 1), ("i000000", 1, 2), ("i000001", 1, 3), ("i000001", 0, 24 * 8), ("i000002", 0, 4)]
    late = [
        {"interaction_id": name, "value": value, "timestamp": WEEK.start + timedelta(hours=hours)}
        for name, value, hours in ratings
    ]
    schema = AGENT_FEEDBACK.arrow_schema
    week_lake.tables.append(AGENT_FEEDBACK, schema.empty_table().from_pylist(late, schema=schema), key="feedback")
    version = week_lake.tables.current(AGENT_INTERACTIONS)
    assert version
    bruno = activities(week_lake, version, WEEK).of("bruno")
    assert bruno.rated == 3
    assert bruno.positive == pytest.approx(2 / 3)


def test_a_week_is_written_once_and_later_data_do_not_change_it(week_lake: Lake) -> None:
    first = write_week(week_lake, WEEK, base)
    page = week_lake.store.read(first.object)
    week_lake.tables.append(AGENT_INTERACTIONS, table([row(30, WEEK.start + timedelta(minutes=1))]), key="late")
    assert write_week(week_lake, WEEK, base) == first
    assert week_lake.store.read(first.object) == page
    assert len(week_lake.ledger.entries("reports")) == 1
    assert first.object == "reports/weekly/2026-W41.html"


def test_a_run_that_was_cut_off_before_its_page_is_finished_with_the_same_numbers(week_lake: Lake) -> None:
    first = write_week(week_lake, WEEK, base)
    page = week_lake.store.read(first.object)
    week_lake.store.delete(first.object)
    week_lake.tables.append(AGENT_INTERACTIONS, table([row(30, WEEK.start + timedelta(minutes=1))]), key="late")
    write_week(week_lake, WEEK, base)
    assert week_lake.store.read(first.object) == page


def test_the_page_loads_nothing_and_holds_no_user_data(settings: Settings, tmp_path: Path) -> None:
    at = WEEK.end - timedelta(minutes=1)
    lake = open_lake(settings, clock=lambda: at)
    path = tmp_path / "log.jsonl"
    path.write_bytes(lines([*rows(), row(40, at, latency_ms=-1), row(41, at, agent_name="<b>nobody</b>")]))
    Ingester(lake, AGENT_INTERACTIONS, "agents").ingest_file(path)
    page = lake.store.read(write_week(lake, WEEK, base).object).decode()
    assert "latency_out_of_range" in page
    for private in ("user-", "question", "answer &quot;", "<b>nobody"):
        assert private not in page
    for fetched in ("<script", "<link", "src=", "url(", "@import", "https://"):
        assert fetched not in page.replace("url(#", "")
    HTMLParser().feed(page)
    assert "Interactions per day" in excerpt(page)


def test_a_past_week_is_written_by_its_name_and_a_week_that_is_not_over_is_refused(week_lake: Lake) -> None:
    past = write_past_week(week_lake, "2026-W40")
    assert (past.week, past.object) == ("2026-W40", "reports/weekly/2026-W40.html")
    assert b"sent 5 requests" in local_copy(week_lake, past).read_bytes()
    assert write_past_week(week_lake, "2026-W41") == write_week(week_lake, WEEK, base)
    with pytest.raises(UserError, match=r"2026-W42 ends on 2026-10-19 .* the newest whole week is 2026-W41"):
        write_past_week(week_lake, "2026-W42")
    for wrong in ("W41", "2026-41", "2027-W53", "2026-W00", ""):
        with pytest.raises(UserError, match="is not an ISO week such as 2026-W41"):
            write_past_week(week_lake, wrong)


def test_an_empty_lake_has_a_page_that_says_so(lake: Lake) -> None:
    report = write_week(lake, WEEK, base)
    page = lake.store.read(report.object).decode()
    assert report.interactions == []
    for text in ("The agents had no requests.", "Nothing landed in this week.", "No model has been trained yet."):
        assert text in page


def test_the_models_section_shows_production_and_folds_frequent_events(settings: Settings) -> None:
    lake = open_lake(settings, clock=lambda: WEEK.start + timedelta(days=1))
    for number in range(30):
        lake.ledger.append("models/agents", "looked", f"{number}", {"rows": number})
    lake.ledger.append("models/agents", "promoted", "p", {"version": 2, "reason": "harm excluded"})
    shown = models_section(lake, WEEK, lambda model, at: f"{model}@v{1 if at == WEEK.start else 2}")
    assert "agents@v2 is in production; agents@v1 was at the start of the week." in shown
    assert "looked, 30 times" in shown
    assert "last: rows 29" in shown
    assert shown.count("<tr>") == 3
    assert "harm excluded" in shown


def test_the_headline_compares_with_the_week_before_where_there_was_one() -> None:
    now = Activity(agent=ALL, interactions=103, users=7, error_rate=0.02)
    assert headline(now, Activity(agent=ALL)) == "7 users sent 103 requests. 2.0% of the calls failed."
    before = Activity(agent=ALL, interactions=100, users=6, error_rate=0.01)
    assert headline(now, before) == (
        "7 users sent 103 requests, 3% more than the week before. 2.0% of the calls failed, after 1.0%."
    )


def test_weeks_are_iso_weeks_also_at_the_turn_of_the_year() -> None:
    assert monday(datetime(2026, 10, 11, 23, 59, tzinfo=UTC)) == WEEK.start
    assert Week(start=datetime(2026, 12, 28, tzinfo=UTC)).name == "2026-W53"
    assert Week(start=datetime(2027, 1, 4, tzinfo=UTC)).before.name == "2026-W53"
    with pytest.raises(ValueError, match="a week starts on a Monday"):
        Week(start=WEEK.start + timedelta(hours=1))


def test_a_late_run_reports_every_missed_week_and_a_first_run_only_the_newest() -> None:
    kickoff = timedelta(hours=6)
    assert weeks_of(Window(start=BEGINNING, end=WEEK.end + kickoff)) == [WEEK]
    late = weeks_of(Window(start=WEEK.end + kickoff, end=WEEK.end + timedelta(weeks=3) + kickoff))
    assert [week.name for week in late] == ["2026-W42", "2026-W43", "2026-W44"]
    assert weeks_of(Window(start=WEEK.end + kickoff, end=WEEK.end + 2 * kickoff)) == []
