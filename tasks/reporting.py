"""Reports: of a run, with all its decks and the picture of its lineage; of a week, with the one before beside it."""

from datetime import datetime

from lake.weekly import WeeklyReport
from models.types import Verdict
from tasks.environments import cpu
from tasks.runtime import due, execution, lake, publish


@cpu(enable_deck=False)
def write_run_report(verdict: Verdict) -> str:
    """Assemble the page; returns where it stands."""
    from lake.report import write_report

    return str(write_report(lake(), execution(), verdict.model))


@cpu
def report_weeks(kickoff: datetime, every_minutes: int, schedule: str) -> list[WeeklyReport]:
    """Write the page of each week that has ended since the last report; empty where an earlier run has done it."""
    from lake.charts import note
    from lake.weekly import excerpt, write_week
    from lake.weeks import weeks_of
    from models.state import read_state

    here = lake()

    def live(model: str, at: datetime) -> str:
        return read_state(here.ledger, model, at).baseline

    done = due(
        here,
        schedule,
        lambda window: [write_week(here, week, live) for week in weeks_of(window)],
        kickoff=kickoff,
        every_minutes=every_minutes,
    )
    written = [report for reports in done for report in reports]
    if not written:
        publish(95, "Week", note("No week has ended that has no page yet, or another run is at it."))
    for report in written:
        publish(95, f"Week {report.week}", excerpt(here.store.read(report.object).decode()))
    return written
