"""The weekly report as a message in Slack: each agent's activity in a line, and where the page is.

A message cannot be taken back, so it is sent at most once a week: an entry in the ledger claims it first, and the run
that wrote that entry sends it. A run that is killed in between leaves a week without a message, never one with two.
Where Slack is down only the message is lost, and the ledger records the failure. Numbers only: no user, no text.
"""

import logging
import secrets
from html import escape

from errors import PeerError
from lake.lake import Lake
from reports.weekly.activity import ALL, Activity, Week, milliseconds, percentage
from reports.weekly.page import CHAIN, WeeklyReport, headline, two_weeks
from reports.weekly.slack import post

log = logging.getLogger("fuelline.report")

SENDING, SENT, FAILED = "slack_sending", "slack_sent", "slack_failed"


def send_week(lake: Lake, week: Week, report: WeeklyReport) -> bool:
    """Send the message about a week, unless a run has done or tried that before; returns whether this call sent it.

    A failure of Slack is logged and recorded, and raises nothing. Without ``FUELLINE_SLACK`` nothing is done, so that
    the message can still be sent once it is set.
    """
    webhook = lake.settings.slack.get_secret_value()
    if not webhook:
        return False
    claim = {"week": week.name, "claim": secrets.token_hex(8)}
    if lake.ledger.append(CHAIN, SENDING, f"{SENDING}:{week.name}", claim).payload != claim:
        return False  # another run sends it
    text = message(lake, week, report)
    try:
        post(webhook, text)
    except PeerError as error:
        log.warning("%s: the message to Slack failed: %s", week.name, error)
        lake.ledger.append(CHAIN, FAILED, f"{FAILED}:{week.name}", {"week": week.name, "reason": str(error)})
        return False
    lake.ledger.append(CHAIN, SENT, f"{SENT}:{week.name}", {"week": week.name})
    log.info("%s: the message to Slack is sent", week.name)
    return True


def message(lake: Lake, week: Week, report: WeeklyReport) -> str:
    """The week's numbers in Slack's markup, from the version that the report's page was made from."""
    now, before = two_weeks(lake, report, week)
    lines = [f"*The agents' week {week.name}*", headline(now.of(ALL), before.of(ALL))]
    lines += [_line(now.of(name), before.of(name)) for name in sorted(now.days)]
    lines.append(f"Report: `{report.object}` in the store of lake {lake.settings.lake}")
    return escape("\n".join(lines), quote=False)  # of Slack's markup, these characters can be escaped: & < >


def _line(now: Activity, before: Activity) -> str:
    rated = f"{percentage(now.positive)} of {now.rated:,} positive" if now.rated else "no feedback"
    past = "" if before.p95_ms is None else f" (was {milliseconds(before.p95_ms)})"
    return (
        f"• *{now.agent}*: {now.interactions:,} calls, p95 {milliseconds(now.p95_ms)}{past}, "
        f"{percentage(now.error_rate)} failed, {now.tokens:,} tokens, {rated}"
    )
