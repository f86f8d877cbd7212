"""The week in Slack: the right numbers, once, about nobody in particular, and never at the report's cost."""

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
    """A webhook on loopback that keeps what it was told, and answers as it is bid."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.status = 200
        channel = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                channel.told.append(json.loads(body)["text"])
                self.send_response(channel.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/services/{SECRET}"


@pytest.fixture
def channel() -> Iterator[Channel]:
    one = Channel()
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    thread.join()


def told_lake(settings: Settings, address: str) -> Lake:
    chosen = settings.model_copy(update={"slack": SecretStr(address)})
    lake = open_lake(chosen, clock=lambda: WEEK.end + timedelta(hours=6))
    lake.tables.append(AGENT_INTERACTIONS, table(rows()), key="rows")
    return lake


def test_the_channel_is_told_the_numbers_once_and_no_word_of_a_user(settings: Settings, channel: Channel) -> None:
    lake = told_lake(settings, channel.address)
    report = write_week(lake, WEEK, base)
    assert send_week(lake, WEEK, report)
    assert not send_week(lake, WEEK, report)
    [text] = channel.told
    assert text.splitlines() == [
        "*The agents' week 2026-W41*",
        "7 users asked 10 times, 100% more than the week before. 10.0% of the calls failed, after 0.0%.",
        "• *bruno*: 10 calls, p95 900 ms (was 2.00 s), 10.0% failed, 50 tokens, nobody rated",
        "Report: `reports/weekly/2026-W41.html` in the store of lake test",
    ]
    assert [entry.kind for entry in lake.ledger.entries("reports")] == ["weekly", "slack_sending", "slack_sent"]


def test_each_week_is_told(settings: Settings, channel: Channel) -> None:
    lake = told_lake(settings, channel.address)
    for week in (WEEK.before, WEEK):
        send_week(lake, week, write_week(lake, week, base))
    assert ["W40" in text for text in channel.told] == [True, False]
    assert "100.0% of 5 liked" in channel.told[0]


@pytest.mark.parametrize("status", [404, 500])
def test_a_slack_that_refuses_costs_the_message_and_not_the_report(
    settings: Settings, channel: Channel, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    channel.status = status
    lake = told_lake(settings, channel.address)
    report = write_week(lake, WEEK, base)
    with caplog.at_level(logging.WARNING, "fuelline.report"):
        assert not send_week(lake, WEEK, report)
    assert f"Slack answered {status}" in caplog.text
    [failed] = lake.ledger.entries("reports", kind="slack_failed")
    assert str(status) in failed.payload["reason"]
    for kept in (caplog.text, *(entry.encode().decode() for entry in lake.ledger.entries("reports"))):
        assert SECRET not in kept
    assert not send_week(lake, WEEK, report)
    assert len(channel.told) == 1


def test_a_slack_that_is_not_there_costs_the_message_and_not_the_report(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    lake = told_lake(settings, f"http://127.0.0.1:{free_port()}/{SECRET}")
    with caplog.at_level(logging.WARNING, "fuelline.report"):
        assert not send_week(lake, WEEK, write_week(lake, WEEK, base))
    assert "Slack cannot be reached" in caplog.text
    assert SECRET not in caplog.text


def test_without_a_webhook_nothing_is_claimed_and_it_can_be_told_later(settings: Settings, channel: Channel) -> None:
    lake = told_lake(settings, "")
    report = write_week(lake, WEEK, base)
    assert not send_week(lake, WEEK, report)
    assert send_week(told_lake(settings, channel.address), WEEK, report)


def test_an_empty_lake_is_told_as_one(settings: Settings, channel: Channel) -> None:
    lake = open_lake(settings.model_copy(update={"slack": SecretStr(channel.address)}))
    assert send_week(lake, WEEK, write_week(lake, WEEK, base))
    assert "Nobody asked the agents anything." in channel.told[0]


def _send(home: str, address: str) -> bool:
    lake = open_lake(read_settings(home=Path(home), lake="test", slack=SecretStr(address)))
    return send_week(lake, WEEK, write_week(lake, WEEK, base))


def test_of_many_runs_at_once_one_tells_the_channel(settings: Settings, channel: Channel) -> None:
    told_lake(settings, channel.address)
    sent = at_once(_send, [(str(settings.home), channel.address)] * 4)
    assert sum(sent) == 1
    assert len(channel.told) == 1


def test_a_webhook_that_is_no_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match=r"FUELLINE_SLACK.*hooks\.slack\.com") as refused:
        read_settings(slack=SecretStr(f"hooks/{SECRET}"))
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(read_settings(slack=SecretStr(f"https://hooks.slack.com/{SECRET}")))
