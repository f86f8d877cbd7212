"""The weekly message in Slack: the right numbers, sent once, without user data; its failure never fails the report."""

import json
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from errors import SettingsError
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import Lake, open_lake
from reports.weekly.message import send_week
from reports.weekly.page import write_week
from settings import Settings, read_settings
from tests.conftest import free_port
from tests.lake.processes import at_once
from tests.lake.rows import table
from tests.reports.weekly.test_page import WEEK, base, rows

SECRET = "T0000-B0000-secret"


class Channel:
    """A webhook on loopback that keeps the messages and answers with a chosen status."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.status = 200
        channel = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                channel.texts.append(json.loads(body)["text"])
                self.send_response(channel.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/services/{SECRET}"


@pytest.fixture
def channel() -> Iterator[Channel]:
    made = Channel()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def lake_with_slack(settings: Settings, address: str) -> Lake:
    chosen = settings.model_copy(update={"slack": SecretStr(address)})
    lake = open_lake(chosen, clock=lambda: WEEK.end + timedelta(hours=6))
    lake.tables.append(AGENT_INTERACTIONS, table(rows()), key="rows")
    return lake


def test_the_numbers_are_sent_once_and_without_user_data(settings: Settings, channel: Channel) -> None:
    lake = lake_with_slack(settings, channel.address)
    report = write_week(lake, WEEK, base)
    assert send_week(lake, WEEK, report)
    assert not send_week(lake, WEEK, report)
    [text] = channel.texts
    assert text.splitlines() == [
        "*The agents' week 2026-W41*",
        "7 users sent 10 requests, 100% more than the week before. 10.0% of the calls failed, after 0.0%.",
        "• *bruno*: 10 calls, p95 900 ms (was 2.00 s), 10.0% failed, 50 tokens, no feedback",
        "Report: `reports/weekly/2026-W41.html` in the store of lake test",
    ]
    assert [entry.kind for entry in lake.ledger.entries("reports")] == ["weekly", "slack_sending", "slack_sent"]


def test_each_week_has_its_message(settings: Settings, channel: Channel) -> None:
    lake = lake_with_slack(settings, channel.address)
    for week in (WEEK.before, WEEK):
        send_week(lake, week, write_week(lake, week, base))
    assert ["W40" in text for text in channel.texts] == [True, False]
    assert "100.0% of 5 positive" in channel.texts[0]


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusal_by_slack_loses_the_message_and_not_the_report(
    settings: Settings, channel: Channel, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    channel.status = status
    lake = lake_with_slack(settings, channel.address)
    report = write_week(lake, WEEK, base)
    with caplog.at_level(logging.WARNING, "fuelline.report"):
        assert not send_week(lake, WEEK, report)
    assert f"Slack answered {status}" in caplog.text
    [failed] = lake.ledger.entries("reports", kind="slack_failed")
    assert str(status) in failed.payload["reason"]
    for kept in (caplog.text, *(entry.encode().decode() for entry in lake.ledger.entries("reports"))):
        assert SECRET not in kept
    assert not send_week(lake, WEEK, report)
    assert len(channel.texts) == 1


def test_an_unreachable_slack_loses_the_message_and_not_the_report(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    lake = lake_with_slack(settings, f"http://127.0.0.1:{free_port()}/{SECRET}")
    with caplog.at_level(logging.WARNING, "fuelline.report"):
        assert not send_week(lake, WEEK, write_week(lake, WEEK, base))
    assert "Slack cannot be reached" in caplog.text
    assert SECRET not in caplog.text


def test_without_a_webhook_nothing_is_claimed_and_the_message_can_be_sent_later(
    settings: Settings, channel: Channel
) -> None:
    lake = lake_with_slack(settings, "")
    report = write_week(lake, WEEK, base)
    assert not send_week(lake, WEEK, report)
    assert send_week(lake_with_slack(settings, channel.address), WEEK, report)


def test_the_message_of_an_empty_lake_says_so(settings: Settings, channel: Channel) -> None:
    lake = open_lake(settings.model_copy(update={"slack": SecretStr(channel.address)}))
    assert send_week(lake, WEEK, write_week(lake, WEEK, base))
    assert "The agents had no requests." in channel.texts[0]


def _send(home: str, address: str) -> bool:
    lake = open_lake(read_settings(home=Path(home), lake="test", slack=SecretStr(address)))
    return send_week(lake, WEEK, write_week(lake, WEEK, base))


def test_of_concurrent_runs_exactly_one_sends_the_message(settings: Settings, channel: Channel) -> None:
    lake_with_slack(settings, channel.address)
    sent = at_once(_send, [(str(settings.home), channel.address)] * 4)
    assert sum(sent) == 1
    assert len(channel.texts) == 1


def test_an_invalid_webhook_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"FUELLINE_SLACK.*hooks\.slack\.com") as refused:
        read_settings(slack=SecretStr(f"hooks/{SECRET}"))
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(read_settings(slack=SecretStr(f"https://hooks.slack.com/{SECRET}")))
