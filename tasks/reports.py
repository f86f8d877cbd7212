"""The report of a week: one page, with the week before beside it."""

from datetime import datetime

from reports.weekly.page import WeeklyReport
from tasks.environments import cpu
from tasks.runtime import due, lake, publish


@cpu
def report_weeks(kickoff: datetime, every_minutes: int, schedule: str) -> list[WeeklyReport]:
    """Write the page of each week that has ended since the last report, and tell Slack.

    Empty where an earlier run has done it.
    """
    from models.registry.registry import production
    from models.types import baseline_name
    from reports.common.html import note
    from reports.weekly.activity import Week, weeks_of
    from reports.weekly.message import send_week
    from reports.weekly.page import excerpt, write_week

    here = lake()

    def live(model: str, at: datetime) -> str:
        return baseline_name(production(here.ledger, model, at))

    def work(week: Week) -> WeeklyReport:
        report = write_week(here, week, live)
        send_week(here, week, report)
        return report

    done = due(
        here,
        schedule,
        lambda window: [work(week) for week in weeks_of(window)],
        kickoff=kickoff,
        every_minutes=every_minutes,
    )
    written = [report for reports in done for report in reports]
    if not written:
        publish(95, "Week", note("No week has ended that has no page yet, or another run is at it."))
    for report in written:
        publish(95, f"Week {report.week}", excerpt(here.store.read(report.object).decode()))
    return written
