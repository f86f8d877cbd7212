"""CloudEvents from a real RabbitMQ: nothing is lost or duplicated, whatever is killed, repeated or malformed."""

import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from click.testing import CliRunner

from cli.main import main
from errors import PeerError, SettingsError
from lake.contracts import contract
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.base import Contract
from lake.contracts.cloud_events import CLOUD_EVENTS
from lake.lake import Lake, open_lake
from lake.sources.broker import DEAD_LETTERS, DELIVERY_LIMIT, Batching, StopCondition, consume
from lake.sources.cloudevents import Message, read_event
from lake.sources.events import QUEUE, drain, ingest_batch
from settings import Settings, read_settings
from tests.conftest import variables
from tests.lake.events import connection, drain_and_die, event, left, publish
from tests.lake.processes import PROCESSES
from tests.lake.rows import interaction

EMPTY = Batching(messages=100, seconds=0.2)


@pytest.fixture
def settings(tmp_path: Path, rabbitmq_url: str) -> Iterator[Settings]:
    """A fresh lake and a broker without queues."""
    chosen = read_settings(home=tmp_path / "home", lake="test", cache=tmp_path / "cache", rabbitmq=rabbitmq_url)
    yield chosen
    with connection(chosen) as opened:
        channel = opened.channel()
        for queue in (QUEUE, DEAD_LETTERS):
            channel.queue_delete(queue)


def rows(lake: Lake, of: Contract, *columns: str) -> list[dict[str, Any]]:
    version = lake.tables.current(of)
    return lake.tables.read(version, columns=list(columns)).to_pylist() if version else []


def ids(lake: Lake) -> list[str]:
    return sorted(row["interaction_id"] for row in rows(lake, AGENT_INTERACTIONS, "interaction_id"))


def reasons(lake: Lake, of: Contract) -> list[str]:
    return sorted(row["reason"] for row in rows(lake, contract(f"quarantine.{of.name.split('.')[1]}"), "reason"))


def test_events_become_rows_of_their_data_sets_and_are_acknowledged(lake: Lake) -> None:
    rating = {"interaction_id": "i000001", "value": 1, "timestamp": "2026-10-02T00:00:00Z"}
    publish(lake.settings, [event(n) for n in range(250)])
    publish(lake.settings, [event(900, rating, type="fuelline.agent.feedback.v1")])
    publish(lake.settings, [event(901, {"alert": "disk"}, type="io.homelab.alert", traceparent="00-ab-cd-01")])
    assert drain(lake, StopCondition(empty=True), EMPTY) == 252
    assert left(lake.settings) == 0
    assert ids(lake) == sorted(interaction(n)["interaction_id"] for n in range(250))
    assert [row["value"] for row in rows(lake, contract("processed.agent_feedback"), "value")] == [1]
    envelopes = {row["id"]: row for row in rows(lake, CLOUD_EVENTS, "id", "data", "extensions", "subject")}
    assert len(envelopes) == 252
    assert envelopes["e901"]["data"] == '{"alert":"disk"}'
    assert json.loads(envelopes["e901"]["extensions"]) == {"traceparent": "00-ab-cd-01"}
    assert envelopes["e7"]["data"] is None  # the row of the data set is the only copy of the text of a user


def test_the_binary_mode_of_either_binding_gives_the_same_rows(lake: Lake) -> None:
    for number, prefix in enumerate(("cloudEvents:", "cloudEvents_", "ce-")):
        members = json.loads(event(number))
        data = json.dumps(members.pop("data")).encode()
        headers = {f"{prefix}{name}": value for name, value in members.items()}
        publish(lake.settings, [data], content_type="application/json", **headers)
    drain(lake, StopCondition(empty=True), EMPTY)
    assert ids(lake) == ["i000000", "i000001", "i000002"]
    assert {row["datacontenttype"] for row in rows(lake, CLOUD_EVENTS, "datacontenttype")} == {"application/json"}


@pytest.mark.parametrize("acknowledged", [0, 1])
@pytest.mark.parametrize("again", [40, 25])
def test_a_kill_between_commit_and_acknowledgement_loses_and_duplicates_nothing(
    settings: Settings, acknowledged: int, again: int
) -> None:
    bad = [event(900, specversion="0.3"), b"no event", event(901, {**interaction(901), "tokens_used": -1})]
    sent = [event(n) for n in range(100)]
    publish(settings, [*sent[:10], *bad, *sent[10:]])
    child = PROCESSES.Process(target=drain_and_die, args=(settings, 40, acknowledged))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    lake = open_lake(settings)
    assert len(ids(lake)) > 35  # it was after the commit
    drain(lake, StopCondition(empty=True), Batching(messages=again, seconds=0.2))
    assert ids(lake) == sorted(interaction(n)["interaction_id"] for n in range(100))
    assert reasons(lake, CLOUD_EVENTS) == ["malformed_json", "unknown_specversion"]
    assert reasons(lake, AGENT_INTERACTIONS) == ["tokens_out_of_range"]
    assert left(settings) == left(settings, DEAD_LETTERS) == 0


def test_a_batch_that_landed_without_its_commit_is_finished_on_redelivery(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(settings, [*(event(n) for n in range(30)), b"{"])
    lake = open_lake(settings)

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(
            "lake.ingest.pipeline.Ingester._commit", dies
        )  # a crash after the landing, whose raw object stays
        with pytest.raises(RuntimeError):
            drain(lake, StopCondition(empty=True), EMPTY)
    assert ids(lake) == []
    drain(open_lake(settings), StopCondition(empty=True), Batching(messages=7, seconds=0.2))
    assert len(ids(lake)) == 30
    assert reasons(lake, CLOUD_EVENTS) == ["malformed_json"]


def test_an_event_sent_twice_is_committed_once(lake: Lake) -> None:
    publish(lake.settings, [event(n % 20) for n in range(60)])
    drain(lake, StopCondition(empty=True), Batching(messages=13, seconds=0.2))
    assert len(ids(lake)) == 20
    assert len(rows(lake, CLOUD_EVENTS, "id")) == 20
    assert reasons(lake, CLOUD_EVENTS) == reasons(lake, AGENT_INTERACTIONS) == []


@pytest.mark.parametrize(
    ("body", "of", "reason"),
    [
        (b"", CLOUD_EVENTS, "malformed_json"),
        (b"\xff\xfe", CLOUD_EVENTS, "invalid_utf8"),
        (b"[1, 2]", CLOUD_EVENTS, "malformed_json"),
        (b'{"id": "a", "id": "b"}', CLOUD_EVENTS, "malformed_json"),
        (event(id=None), CLOUD_EVENTS, "missing_column"),
        (event(time=None), CLOUD_EVENTS, "missing_column"),
        (event(source=7), CLOUD_EVENTS, "wrong_type"),
        (event(time="yesterday"), CLOUD_EVENTS, "bad_timestamp"),
        (event(specversion="0.3"), CLOUD_EVENTS, "unknown_specversion"),
        (event(data="text"), AGENT_INTERACTIONS, "malformed_json"),
        (event(data={**interaction(), "latency_ms": 1}), AGENT_INTERACTIONS, "latency_out_of_range"),
        (event(data={**interaction(), "agent_name": "nobody"}), AGENT_INTERACTIONS, "unknown_agent"),
    ],
)
def test_a_poison_message_is_quarantined_and_not_redelivered(
    lake: Lake, body: bytes, of: Contract, reason: str
) -> None:
    ingest_batch(lake, [Message(body=body, content_type="application/cloudevents+json")])
    assert reasons(lake, of) == [reason]


def test_a_message_nested_too_deeply_does_not_fail_its_batch(settings: Settings) -> None:
    deep = event(1)[:-1] + b', "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    publish(settings, [event(0), deep, event(2)])
    lake = open_lake(settings)
    assert drain(lake, StopCondition(empty=True), EMPTY) == 3
    assert ids(lake) == ["i000000", "i000002"]
    assert reasons(lake, CLOUD_EVENTS) == ["unexpected_column"]
    assert left(settings) == left(settings, DEAD_LETTERS) == 0


def test_a_message_that_always_kills_its_consumer_is_dead_lettered(settings: Settings) -> None:
    publish(settings, [event(0)])

    def dies(_: object) -> None:
        raise RuntimeError("segmentation fault")

    for _ in range(DELIVERY_LIMIT + 1):
        with pytest.raises(RuntimeError):
            consume(settings, QUEUE, dies, Batching(messages=1, seconds=0.1), StopCondition(seconds=20))
    deadline = time.monotonic() + 30
    while left(settings, DEAD_LETTERS) == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (left(settings), left(settings, DEAD_LETTERS)) == (0, 1)


def test_messages_of_a_failed_batch_are_redelivered_to_the_same_process(settings: Settings) -> None:
    publish(settings, [event(n) for n in range(5)])
    redelivered: list[list[bool]] = []

    def fails_once(messages: Any) -> None:
        redelivered.append([message.redelivered for message in messages])
        if len(redelivered) == 1:
            raise PeerError("the store is away")

    assert consume(settings, QUEUE, fails_once, EMPTY, StopCondition(seconds=60, empty=True)) == 5
    assert redelivered == [[False] * 5, [True] * 5]


def test_a_lost_connection_is_reopened(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(settings, [event(n) for n in range(5)])
    batch_sizes: list[int] = []

    def loses_once(messages: Any) -> None:
        batch_sizes.append(len(messages))
        if len(batch_sizes) == 1:
            held[0]._impl._transport._sock.shutdown(socket.SHUT_RDWR)

    held: list[Any] = []
    opened = pika.BlockingConnection

    def remembers(*arguments: Any) -> Any:
        held.append(opened(*arguments))
        return held[-1]

    monkeypatch.setattr(pika, "BlockingConnection", remembers)
    assert consume(settings, QUEUE, loses_once, EMPTY, StopCondition(seconds=60, empty=True)) == 5
    assert len(held) == 2
    assert sum(batch_sizes) == 10


def test_no_more_than_two_batches_are_fetched_ahead(settings: Settings) -> None:
    publish(settings, [event(n) for n in range(50)])
    begun, go_on = threading.Event(), threading.Event()

    def waits(_: object) -> None:
        begun.set()
        go_on.wait(30)

    batching = Batching(messages=10, seconds=0.1)
    until = StopCondition(seconds=60, empty=True)
    reader = threading.Thread(target=consume, args=(settings, QUEUE, waits, batching, until))
    reader.start()
    assert begun.wait(30)
    held = 50 - left(settings)
    go_on.set()
    reader.join(60)
    assert held <= 20
    assert left(settings) == 0


def test_a_run_finishes_what_it_fetched_and_the_rest_stays_in_the_queue(settings: Settings) -> None:
    publish(settings, [event(n) for n in range(300)])
    handled: list[int] = []
    until = StopCondition(seconds=60)

    def stops(messages: Any) -> None:
        handled.append(len(messages))
        until.stop_requested.set()

    consume(settings, QUEUE, stops, Batching(messages=5, seconds=1), until)
    assert handled[0] == 5
    assert sum(handled) <= 2 * 5
    assert left(settings) == 300 - sum(handled)


def test_a_missing_or_wrong_setting_is_named_without_the_password(settings: Settings) -> None:
    def nothing(_: object) -> None: ...

    with pytest.raises(SettingsError, match="FUELLINE_RABBITMQ is not set"):
        consume(read_settings(), QUEUE, nothing, EMPTY, StopCondition())
    with pytest.raises(SettingsError, match=r"FUELLINE_RABBITMQ.*amqp://"):
        read_settings(rabbitmq="http://x")
    wrong = read_settings(rabbitmq=settings.rabbitmq.get_secret_value().replace("guest:guest", "guest:hunter2"))
    assert "hunter2" not in repr(wrong)
    with pytest.raises(SettingsError, match="refuses this user") as refused:
        consume(wrong, QUEUE, nothing, EMPTY, StopCondition())
    assert "hunter2" not in str(refused.value)


def test_a_queue_of_another_kind_is_reported(settings: Settings) -> None:
    with connection(settings) as opened:
        opened.channel().queue_declare(QUEUE, durable=True)
    with pytest.raises(SettingsError, match="in another form"):
        consume(settings, QUEUE, lambda _: None, EMPTY, StopCondition())


def test_the_command_drains_the_queue_and_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    publish(settings, [event(n) for n in range(7)])
    with caplog.at_level(logging.INFO, "fuelline"):
        arguments = ["consume", "events", "--until-empty", "--seconds", "0.2"]
        assert CliRunner().invoke(main, arguments, env=variables(settings)).exit_code == 0
    assert "7 messages" in caplog.text
    assert "user-" not in caplog.text
    assert len(ids(open_lake(settings))) == 7


def test_a_binary_payload_is_kept_whole() -> None:
    members = json.loads(event(data="x", type="io.homelab.image", data_base64="/+8="))
    members.pop("data")
    kept = json.loads(read_event(Message(body=json.dumps(members).encode())).line)
    assert kept["data_base64"] == "/+8="
    binary = Message(
        body=b"\xff\xef", headers={"ce-specversion": "1.0", "ce-type": "io.homelab.image"}, content_type="image/png"
    )
    assert json.loads(read_event(binary).line)["data_base64"] == "/+8="
