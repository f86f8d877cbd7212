"""The weekly report for people."""

from datetime import datetime

from flytekit import workflow

from reports.weekly.page import WeeklyReport
from tasks.reports import report_weeks


@workflow
def weekly_report(
    kickoff: datetime, every_minutes: int = 7 * 1440, schedule: str = "report_weekly", week: str = ""
) -> list[WeeklyReport]:
    """Write one page about the week that ended.

    It shows the agents' activity compared with the week before, the quality of the data, and the events of each model.
    It is written once, to `reports/weekly/<ISO week>.html` in the object store. Where `FUELLINE_SLACK` is set, its
    numbers are sent to a Slack channel, at most once a week.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        week: a past week such as `2026-W41`, of which only the page is written; empty: those that are due.
    """
    return report_weeks(kickoff=kickoff, every_minutes=every_minutes, schedule=schedule, week=week)
