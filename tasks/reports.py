"""The report of a run, with its decks, and the report of a week, compared with the week before."""

from datetime import datetime

from models.types import Verdict
from reports.weekly.page import WeeklyReport
from tasks.environments import OUTSIDE_PODS, cpu
from tasks.runtime import due, execution, publish, task_lake


@cpu(enable_deck=False)
def write_run_report(verdict: Verdict) -> str:
    """Write the page of this run: all its decks, the verdict and the lineage; returns its address."""
    from reports.run_report import write_report

    return str(write_report(task_lake(), execution(), verdict.model))


@cpu(pod_template_name=OUTSIDE_PODS)
def report_weeks(kickoff: datetime, every_minutes: int, schedule: str, week: str) -> list[WeeklyReport]:
    """Write the page of each week that has ended since the last report, and send its summary to Slack.

    Empty if an earlier run has done it. With ``week``, such as ``2026-W41``, the page of that week and no message.
    """
    from reports.weekly.activity import Week, weeks_of
    from reports.weekly.message import send_week
    from reports.weekly.page import excerpt, in_production, write_past_week, write_week

    lake = task_lake()

    def report_week(week: Week) -> WeeklyReport:
        report = write_week(lake, week, in_production(lake))
        send_week(lake, week, report)
        return report

    if week:
        written = [write_past_week(lake, week)]
    else:
        when = (schedule, kickoff, every_minutes)
        windows = due(lake, *when, (95, "Week"), lambda window: [report_week(week) for week in weeks_of(window)])
        written = [report for reports in windows for report in reports]
    for report in written:
        publish(95, f"Week {report.week}", excerpt(lake.store.read(report.object).decode()))
    return written
