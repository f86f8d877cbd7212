"""What a week came to, for people."""

from datetime import datetime

from flytekit import workflow

from reports.weekly.page import WeeklyReport
from tasks.reports import report_weeks


@workflow
def weekly_report(
    kickoff: datetime, every_minutes: int = 7 * 1440, schedule: str = "report_weekly"
) -> list[WeeklyReport]:
    """Write one page about the week that ended, for people.

    What the agents did beside the week before, how good the data were, what happened to each model. It stands in the
    object store as `reports/weekly/<ISO week>.html`, and is written once. Where `FUELLINE_SLACK` is set, a channel of
    Slack is told its numbers, at most once a week.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two fires.
        schedule: the launch plan's name.
    """
    return report_weeks(kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)
