"""The weekly report as a message in Slack: what the agents did, in a line each, and where the page stands.

A message cannot be taken back, so it is sent at most once a week: an entry in the ledger claims it first, and whoever
wrote that entry sends it. A run that is killed in between leaves a week without a message, never one with two. Slack
being down costs the message and not the report; the ledger says that it failed. Numbers only: no user, no text.
"""

import logging
import secrets

from errors import PeerError
from lake.lake import Lake
from reports.weekly.activity import ALL, Activities, Activity, Week, activities
from reports.weekly.page import CHAIN, WeeklyReport, headline
from reports.weekly.sections import milliseconds, percentage
from reports.weekly.slack import escaped, post

log = logging.getLogger("fuelline.report")

SENDING, SENT, FAILED = "slack_sending", "slack_sent", "slack_failed"


def send_week(lake: Lake, week: Week, report: WeeklyReport) -> bool:
    """Tell Slack about a week, unless that was done or tried before; says whether this call did it.

    Never fails because of Slack: what went wrong is logged and written down. Without ``FUELLINE_SLACK`` it does
    nothing, so that the week can still be told once somebody sets it.
    """
    webhook = lake.settings.slack.get_secret_value()
    if not webhook or not _claimed(lake, week):
        return False
    text = message(lake, week, report)
    try:
        post(webhook, text)
    except PeerError as error:
        log.warning("%s: Slack was not told: %s", week.name, error)
        lake.ledger.append(CHAIN, FAILED, f"{FAILED}:{week.name}", {"week": week.name, "reason": str(error)})
        return False
    lake.ledger.append(CHAIN, SENT, f"{SENT}:{week.name}", {"week": week.name})
    log.info("%s: told Slack", week.name)
    return True


def message(lake: Lake, week: Week, report: WeeklyReport) -> str:
    """The week's numbers in Slack's markup, from the version of the report's page."""
    last = Activities(agents={}, days={})
    versions = report.interactions[:1]
    now, before = (next((activities(lake, v, one) for v in versions), last) for one in (week, week.before))
    agents = [_line(now.of(name), before.of(name)) for name in sorted(now.days)]
    told = [f"*The agents' week {week.name}*", headline(now.of(ALL), before.of(ALL)), *agents]
    return "\n".join([*told, f"Report: `{escaped(report.object)}` in the store of lake {escaped(lake.settings.lake)}"])


def _line(now: Activity, before: Activity) -> str:
    liked = f"{percentage(now.liked)} of {now.rated:,} liked" if now.rated else "nobody rated"
    past = "" if before.p95_ms is None else f" (was {milliseconds(before.p95_ms)})"
    return (
        f"• *{escaped(now.agent)}*: {now.interactions:,} calls, p95 {milliseconds(now.p95_ms)}{past}, "
        f"{percentage(now.error_rate)} failed, {now.tokens:,} tokens, {liked}"
    )


def _claimed(lake: Lake, week: Week) -> bool:
    """Whether it is ours to send: of many runs at once, one."""
    mine = secrets.token_hex(8)
    entry = lake.ledger.append(CHAIN, SENDING, f"{SENDING}:{week.name}", {"week": week.name, "claim": mine})
    return bool(entry.payload["claim"] == mine)
