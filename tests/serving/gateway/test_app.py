"""The gateway as its clients meet it: over HTTP, before a replica that is well, slow, broken or gone."""

import asyncio
import json
import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import serving.gateway.proxy
import serving.gateway.responses
import serving.gateway.route_cache
import serving.gateway.uploader
from benchmarks.vllm_stub import OTHER, WORDS, Stub
from cli.main import main
from errors import PeerError, SettingsError
from features.definitions.views import INFRASTRUCTURE_FEATURES, USER_FEATURES
from features.online.feast_repo import open_feature_store
from lake.contracts import contract
from lake.lake import open_lake
from lake.sources.inbox import collect_all
from models.prompt import PROMPT_VERSION, render
from models.registry.registry import register
from serving.gateway.app import build
from serving.gateway.auth import digest, make_key
from serving.gateway.spool import Spool
from serving.routing.routes import route_of
from settings import Settings, read_settings
from tests.conftest import free_port
from tests.serving.live import Client, gateway, know_the_agents, vllm, wait_until
from tests.world.world import PROFILE, SPEC, lake_with_tiny, shown_better, trained

REGULAR = {"total_queries": 30, "avg_query_length": 12.5}
TABLES = {
    "agents": "processed.agent_interactions",
    "predictions": "processed.model_predictions",
    "feedback": "processed.agent_feedback",
}


@pytest.fixture(scope="module", autouse=True)
def quick_drain() -> Iterator[None]:
    """What is answered is in the inbox soon after, so that tests need not wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.gateway.uploader, "EVERY_S", 0.2)
        yield


@pytest.fixture(scope="module")
def stub() -> Stub:
    """The replica of most tests; it keeps what it was asked. It takes as long as an interaction has to."""
    return Stub(keep=True, pause_s=0.006)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, stub: Stub) -> Iterator[Settings]:
    """A lake whose ledger knows the agents, a regular user online, and a replica."""
    folder = tmp_path_factory.mktemp("gateway")
    with vllm(stub) as address:
        made = read_settings(home=folder / "home", lake="test", cache=folder / "cache", vllm=address, cluster="studio")
        know_the_agents(open_lake(made))
        remember_a_regular(made)
        remember_the_cluster(made)
        yield made


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[Client]:
    """A gateway that runs through all tests which need no other."""
    with gateway(build(settings)) as found:
        yield found


def remember_a_regular(settings: Settings) -> None:
    """Push the features of the user ``regular``."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    values: dict[str, Any] = {column.name: 1 for column in USER_FEATURES.columns} | REGULAR
    values |= {"user_id": "regular", "event_timestamp": midnight, "created_timestamp": midnight + USER_FEATURES.delay}
    values |= {"most_used_agent": "jamie", "error_rate": 0.0, "avg_latency_ms": 150.0}
    open_feature_store(settings).write_to_online_store(USER_FEATURES.name, df=pd.DataFrame([values]))


def remember_the_cluster(settings: Settings) -> None:
    """Push the features of the namespace that the gateway's agents run in, and of one that they do not."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    view = INFRASTRUCTURE_FEATURES
    told = {"event_timestamp": hour, "created_timestamp": hour + view.delay, "restarts": 0, "warning_events": 5}
    columns = {column.name: None for column in view.columns} | told
    places = [{**columns, view.entity: "studio/agents", "restarts": 3}, {**columns, view.entity: "forge/agents"}]
    open_feature_store(settings).write_to_online_store(
        view.name, df=pd.DataFrame(places).astype({"crash_loops": "Int64"})
    )


def rows(settings: Settings, source: str) -> dict[str, dict[str, Any]]:
    """The lake's rows of a source, by interaction, once the inbox is collected. Each is there once."""
    lake, form = open_lake(settings), contract(TABLES[source])
    collect_all(lake, form, source)
    version = lake.tables.current(form)
    found = lake.tables.read(version).to_pylist() if version else []
    assert max(Counter(row["interaction_id"] for row in found).values(), default=1) == 1
    return {row["interaction_id"]: row for row in found}


def recorded(settings: Settings, source: str, interaction: str) -> dict[str, Any]:
    """The row of one interaction, once it has come to the lake."""
    wait_until(lambda: interaction in rows(settings, source), f"{interaction} is in {source}")
    return rows(settings, source)[interaction]


def test_an_answer_comes_back_as_the_replica_gave_it_and_bears_its_interaction(client: Client) -> None:
    told = client.chat()
    assert told.status == 200
    assert told.json["choices"][0]["message"]["content"] == " ".join(WORDS)
    assert told.json["id"] == told.id
    assert told.json["model"] == "base"


def test_a_stream_passes_through_event_by_event(client: Client) -> None:
    told = client.chat(stream=True)
    assert told.headers["content-type"].startswith("text/event-stream")
    chunks = [json.loads(event) for event in told.events[:-1]]
    assert told.events[-1] == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks).split() == list(WORDS)
    assert {chunk["id"] for chunk in chunks} == {told.id}


def test_numbers_of_tokens_end_a_stream_only_for_who_asked(client: Client) -> None:
    asked = client.chat(stream=True, stream_options={"include_usage": True})
    assert json.loads(asked.events[-2])["usage"]["completion_tokens"] == len(WORDS)
    assert "usage" not in client.chat(stream=True).body.decode()


def test_the_replica_is_given_the_prompt_that_training_renders(client: Client, stub: Stub) -> None:
    client.chat("how are you", user="regular", temperature=0.5)
    sent = stub.asked[-1]
    assert sent["messages"] == render("jamie", REGULAR, "how are you")
    assert "a regular and brief" in sent["messages"][0]["content"]
    assert (sent["model"], sent["temperature"]) == ("base", 0.5)
    assert "user" not in sent


def test_a_conversation_follows_the_system_message_unchanged(client: Client, stub: Stub) -> None:
    said = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
    ]
    told = client.post("/v1/chat/completions", {"model": "agents", "messages": said}, x_agent="bruno", x_user="nobody")
    assert told.status == 200
    assert stub.asked[-1]["messages"] == [render("bruno", None, "second")[0], *said]


def test_tools_pass_through_and_a_tool_call_is_an_answer(client: Client, stub: Stub, settings: Settings) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    for stream in (False, True):
        told = client.chat(":tool", tools=tools, tool_choice="auto", stream=stream)
        assert stub.asked[-1]["tools"] == tools
        assert b'"look"' in told.body
        assert recorded(settings, "predictions", told.id)["failed"] is False
    wait_until(lambda: client.metric("fuelline_gateway_spool_rows") == 0, "drained")
    assert client.metric("fuelline_gateway_requests_total", outcome="answered") > 0


def test_an_interaction_and_its_prediction_come_to_the_lake(client: Client, settings: Settings) -> None:
    told = client.chat("how are you", user="regular", stream=True)
    interaction, prediction = (recorded(settings, source, told.id) for source in ("agents", "predictions"))
    assert interaction["user_query"] == "how are you"
    assert interaction["response"].split() == list(WORDS)
    assert (interaction["user_id"], interaction["agent_name"]) == ("regular", "jamie")
    assert interaction["tokens_used"] == 20 + len(WORDS)
    assert (interaction["error"], interaction["cluster"], interaction["model_version"]) == (False, "studio", "base")
    assert interaction["latency_ms"] >= 100
    assert prediction["latency_ms"] >= prediction["time_to_first_token_ms"] >= 0
    assert (prediction["model_version"], prediction["prompt_version"]) == ("base", PROMPT_VERSION)
    assert prediction["total_queries"] == REGULAR["total_queries"]
    assert (prediction["infrastructure_restarts"], prediction["infrastructure_warning_events"]) == (3, 5)
    assert prediction["infrastructure_crash_loops"] is None
    assert prediction["failed"] is False
    assert prediction["rollout"] is prediction["arm"] is prediction["unit"] is None
    assert prediction["timestamp"] == interaction["timestamp"]


@pytest.mark.parametrize(
    ("wish", "stream", "status", "code"),
    [
        (":fail", False, 502, "upstream_error"),
        (":fail", True, 502, "upstream_error"),
        (":missing", True, 502, "version_not_loaded"),
        (":break", True, 200, "upstream_error"),
    ],
)
def test_a_call_that_fails_says_so_and_is_recorded(
    client: Client, settings: Settings, wish: str, stream: bool, status: int, code: str
) -> None:
    told = client.chat(wish, stream=stream)
    assert told.status == status
    error = (json.loads(told.events[-1]) if status == 200 else told.json)["error"]
    assert error["code"] == code
    assert error["type"] == "server_error"
    assert recorded(settings, "predictions", told.id)["failed"] is True
    assert recorded(settings, "agents", told.id)["error"] is True


def test_a_stream_that_is_broken_off_behind_its_end_is_whole(client: Client, settings: Settings) -> None:
    told = client.chat(":cut", stream=True)
    assert told.events[-1] == "[DONE]"
    said = [json.loads(event)["choices"] for event in told.events[:-1]]
    assert [one[0]["delta"].get("content") for one in said if one][1:-1] == [f"{word} " for word in WORDS]
    assert recorded(settings, "predictions", told.id)["failed"] is False
    assert recorded(settings, "agents", told.id)["response"].split() == list(WORDS)


def test_what_the_replica_refuses_is_told_in_its_own_words_and_is_a_failure(client: Client, settings: Settings) -> None:
    told = client.chat(":refuse")
    assert (told.status, told.json["error"]["message"]) == (400, "no")
    assert recorded(settings, "agents", told.id)["error"] is True
    assert recorded(settings, "predictions", told.id)["failed"] is True


def test_an_answer_with_neither_words_nor_a_tool_call_is_a_failure(client: Client, settings: Settings) -> None:
    told = client.chat(":silent", stream=True)
    assert told.events[-1] == "[DONE]"
    assert recorded(settings, "predictions", told.id)["failed"] is True


def test_the_version_that_answered_is_recorded_whatever_was_asked(client: Client, settings: Settings) -> None:
    told = client.chat(":other")
    assert recorded(settings, "predictions", told.id)["model_version"] == OTHER
    assert client.metric("fuelline_gateway_other_version_total", asked="base", answered=OTHER) == 1


@pytest.mark.parametrize(("wish", "has_begun"), [(":slow", False), (":stall", True)])
def test_a_client_that_leaves_ends_the_call_and_was_not_answered_fast(
    client: Client, settings: Settings, wish: str, has_begun: bool
) -> None:
    before, user = client.metric("fuelline_gateway_requests_total", outcome="cancelled"), f"leaver{wish}"
    asked = {"model": "jamie", "user": user, "messages": [{"role": "user", "content": wish}], "stream": has_begun}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(head + body)
        wait_until(lambda: client.metric("fuelline_gateway_in_flight") >= 1, "it is under way")
        heard = b""
        while has_begun and WORDS[0].encode() not in heard:
            heard += connection.recv(4_096)
    wait_until(lambda: client.metric("fuelline_gateway_requests_total", outcome="cancelled") > before, "it was noticed")
    wait_until(lambda: any(r["user_id"] == user for r in rows(settings, "agents").values()), "it is in the lake")
    [row] = [row for row in rows(settings, "agents").values() if row["user_id"] == user]
    assert row["error"] is True
    assert row["latency_ms"] < 30_000
    prediction = recorded(settings, "predictions", row["interaction_id"])
    assert (prediction["failed"], prediction["latency_ms"]) == (not has_begun, 30_000)


def test_the_time_that_a_client_takes_to_send_its_request_is_no_latency(client: Client, settings: Settings) -> None:
    asked = {"model": "jamie", "user": "slow-sender", "messages": [{"role": "user", "content": "x"}]}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(head)
        time.sleep(4)
        connection.sendall(body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    wait_until(lambda: any(r["user_id"] == "slow-sender" for r in rows(settings, "agents").values()), "in the lake")
    [row] = [row for row in rows(settings, "agents").values() if row["user_id"] == "slow-sender"]
    assert row["latency_ms"] < 4_000


def test_a_thumb_comes_to_the_lake_under_its_interaction(client: Client, settings: Settings) -> None:
    told = client.chat()
    assert client.post("/v1/feedback", {"interaction_id": told.id, "rating": "down"}).status == 200
    assert recorded(settings, "feedback", told.id)["value"] == 0


@pytest.mark.parametrize(
    "body", [{"interaction_id": "i1", "rating": "up"}, {"interaction_id": f"chatcmpl-{'0' * 32}", "rating": 1}, []]
)
def test_a_thumb_for_nothing_is_refused(client: Client, body: object) -> None:
    assert client.post("/v1/feedback", body).status == 400


@pytest.mark.parametrize("name", ["agents@3f9c2a71", "base", "bruno", "../outside"])
def test_a_client_names_no_version_and_no_other_agent(client: Client, name: str) -> None:
    told = client.chat(model=name, headers={"x-agent": "jamie"})
    assert (told.status, told.json["error"]["code"]) == (404, "model_not_found")
    assert "agents, jamie" in told.json["error"]["message"]


@pytest.mark.parametrize("name", ["jamie", "agents", ""])
def test_an_agent_and_its_model_are_names_that_answer(client: Client, name: str) -> None:
    assert client.chat(model=name, headers={"x-agent": "jamie"}).status == 200


def test_an_agent_has_to_be_named_and_known(client: Client) -> None:
    assert client.chat(model="agents").json["error"]["code"] == "no_agent"
    assert client.chat(model="", headers={"x-agent": "nobody"}).json["error"]["code"] == "unknown_agent"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 100_000, 400),
        ({"model": "jamie"}, 400),
        ({"model": "jamie", "messages": "hello"}, 400),
        ({"model": "jamie", "messages": [{"role": "user", "content": "x"}], "n": 2}, 400),
        ({"model": "jamie", "messages": [{"role": "user", "content": "x"}], "n": True}, 400),
        ({"model": "jamie", "messages": [{"role": "user", "content": "x"}], "prompt_logprobs": 1}, 400),
        ({"model": "jamie", "messages": [{"role": "user", "content": "x"}], "user": "u" * 300}, 400),
        ({"model": "jamie", "messages": [{"role": "user", "content": "x"}], "user": "\ud800"}, 400),
        ({"model": "jamie", "messages": [{"role": "user", "content": "x" * (1 << 20)}]}, 413),
    ],
)
def test_a_request_in_another_form_is_refused_as_openai_would(client: Client, body: object, status: int) -> None:
    told = client.post("/v1/chat/completions", body)
    assert told.status == status
    assert told.json["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("truncate_prompt_tokens", 1),
        ("truncation_side", "left"),
        ("return_prompt_text", True),
        ("return_token_ids", True),
        ("kv_transfer_params", {}),
        ("ec_transfer_params", {}),
    ],
)
def test_a_field_that_undoes_or_shows_the_prompt_is_refused(client: Client, field: str, value: Any) -> None:
    told = client.chat(**{field: value})
    assert (told.status, told.json["error"]["code"]) == (400, f"invalid_{field}")


@pytest.mark.parametrize("depth", [200, 500, 900, 960, 990, 1_020])
def test_a_request_nested_deeply_is_passed_on_or_refused_and_no_failure_of_a_version(
    client: Client, depth: int
) -> None:
    failed = client.metric("fuelline_gateway_requests_total", outcome="upstream_error")
    messages = '"messages": [{"role": "user", "content": "x"}]'
    told = client.post(
        "/v1/chat/completions", f'{{"model": "jamie", {messages}, "metadata": {"[" * depth}{"]" * depth}}}'.encode()
    )
    assert told.status in (200, 400)
    assert client.metric("fuelline_gateway_requests_total", outcome="upstream_error") == failed


def test_a_number_passes_through_however_large(client: Client, stub: Stub) -> None:
    large = 123456789012345678901234567890
    body = {"model": "jamie", "messages": [{"role": "user", "content": "x"}], "seed": large}
    assert client.post("/v1/chat/completions", body).status == 200
    assert stub.asked[-1]["seed"] == large


def test_a_text_that_utf_8_cannot_spell_is_kept_as_far_as_it_can(client: Client, settings: Settings) -> None:
    told = client.chat("a\ud800b")
    assert recorded(settings, "agents", told.id)["user_query"] == "a?b"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models/", "/v1/chat/completions/"])
def test_a_path_that_is_not_there_is_an_error_as_openai_tells_it(client: Client, path: str) -> None:
    for told in (client.get(path), client.post(path, {})):
        assert (told.status, told.json["error"]["type"]) == (404, "not_found_error")
        assert told.json["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/chat/completions"])
def test_another_method_is_an_error_that_names_the_right_one(client: Client, path: str) -> None:
    told = client.get(path)
    assert (told.status, told.json["error"]["code"]) == (405, "method_not_allowed")
    assert told.headers["allow"] == "POST"


def test_the_models_are_the_names_a_client_may_use(client: Client) -> None:
    names = [model["id"] for model in client.get("/v1/models").json["data"]]
    assert names == ["agents", "auditor", "bruno", "jamie", "mary-kay"]


def test_it_measures_by_agent_version_and_outcome(client: Client) -> None:
    client.chat(stream=True)
    assert client.metric("fuelline_gateway_requests_total", agent="jamie", model_version="base", outcome="answered") > 0
    assert client.metric("fuelline_gateway_latency_seconds_count", model_version="base") > 0
    assert client.metric("fuelline_gateway_time_to_first_token_seconds_count", model_version="base") > 0
    assert client.metric("fuelline_gateway_tokens_total", model_version="base", kind="completion") > 0
    assert client.get("/health").status == 200


def test_no_words_of_a_user_are_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for wish in ("my secret", ":fail my secret", ":other my secret"):
            client.chat(wish, user="secret-user")
        client.post("/v1/chat/completions", b"{my secret")
    assert "secret" not in caplog.text


@pytest.fixture
def fresh(settings: Settings, tmp_path: Path) -> Callable[..., Any]:
    """Another gateway on the same lake, with settings of its own."""

    def start(concurrency: int = 256, **changes: Any) -> Any:
        made = settings.model_copy(update=changes)
        return gateway(build(made, spool=tmp_path / "spool.db", concurrency=concurrency))

    return start


def test_a_thumb_that_the_spool_cannot_take_is_told_and_counted(fresh: Callable[..., Any], tmp_path: Path) -> None:
    thumb = {"interaction_id": f"chatcmpl-{'0' * 32}", "rating": "up"}
    with fresh() as client:
        with closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            told = client.post("/v1/feedback", thumb)
            other.execute("ROLLBACK")
        assert (told.status, told.json["error"]["code"]) == (503, "not_recorded")
        assert told.headers["retry-after"] == "1"
        assert client.metric("fuelline_gateway_rows_lost_total") == 1
        assert client.metric("fuelline_gateway_feedback_total") == 0
        assert client.post("/v1/feedback", thumb).status == 200


def test_a_key_lets_its_agent_in_until_it_is_taken_out(fresh: Callable[..., Any], tmp_path: Path) -> None:
    key, file = make_key(), tmp_path / "keys.json"
    file.write_text(json.dumps({digest(key): "jamie"}))
    bearer = {"authorization": f"Bearer {key}"}
    with fresh(keys=str(file)) as client:
        assert client.chat().status == 401
        assert client.chat(headers={"authorization": "Bearer fl-other"}).json["error"]["code"] == "invalid_api_key"
        assert client.get("/v1/models").status == 401
        assert client.post("/v1/feedback", {}).status == 401
        assert client.chat(model="", headers=bearer).status == 200
        assert client.chat(model="bruno", headers=bearer).status == 403
        names = [model["id"] for model in client.get("/v1/models", **bearer).json["data"]]
        assert names == ["agents", "jamie"]
        file.write_text("{}")
        wait_until(lambda: client.chat(headers=bearer).status == 401, "the key is taken out")


def test_beyond_its_room_it_says_come_again(fresh: Callable[..., Any]) -> None:
    with vllm(Stub(pause_s=0.2)) as leisurely, fresh(concurrency=1, vllm=leisurely) as client:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.chat, stream=True)
            wait_until(lambda: client.metric("fuelline_gateway_in_flight") == 1, "one is under way")
            told = client.chat()
            assert (told.status, told.json["error"]["type"]) == (429, "rate_limit_error")
            assert told.headers["retry-after"] == "1"
            assert first.result().status == 200
        assert client.chat(":silent").status == 200


def test_thumbs_share_the_room(fresh: Callable[..., Any]) -> None:
    thumb = {"interaction_id": f"chatcmpl-{'0' * 32}", "rating": "up"}
    with fresh(concurrency=1) as client:
        with socket.create_connection(("127.0.0.1", client.port), 60) as slow:
            slow.sendall(b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            wait_until(lambda: client.metric("fuelline_gateway_in_flight") == 1, "one is under way")
            told = client.post("/v1/feedback", thumb)
            assert (told.status, told.json["error"]["code"]) == (429, "too_many_requests")
            assert told.headers["retry-after"] == "1"
        wait_until(lambda: client.post("/v1/feedback", thumb).status == 200, "its client has left")


def test_a_replica_that_takes_no_connection_is_passed_over(fresh: Callable[..., Any], settings: Settings) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with fresh(vllm=f"{dead},{settings.vllm}") as client:
        assert {client.chat().status for _ in range(6)} == {200}
        assert client.metric("fuelline_gateway_unreachable_total", replica=dead) >= 1


def test_a_pod_whose_door_finds_no_vllm_is_passed_over(fresh: Callable[..., Any], settings: Settings) -> None:
    with vllm(Stub(absent=True)) as empty, fresh(vllm=f"{empty},{settings.vllm}") as client:
        assert {client.chat().status for _ in range(6)} == {200}
        assert client.metric("fuelline_gateway_unreachable_total", replica=empty) >= 1
    with vllm(Stub(absent=True)) as empty, fresh(vllm=empty) as client:
        assert client.chat().json["error"]["code"] == "unreachable"


def test_a_version_that_one_replica_lacks_while_the_other_is_away_was_met_by_nobody(
    fresh: Callable[..., Any], settings: Settings
) -> None:
    with fresh(vllm=f"{settings.vllm},http://127.0.0.1:{free_port()}") as client:
        told = [client.chat(":missing").json["error"]["code"] for _ in range(4)]
    assert set(told) == {"version_not_loaded"}


@contextmanager
def sleepy(client: Client, *, stream: bool = True) -> Iterator[socket.socket]:
    """A client that has asked for a long answer and has next to no room for it."""
    body = {"model": "jamie", "messages": [{"role": "user", "content": ":long"}], "stream": stream}
    data = json.dumps(body).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", client.port))
        connection.sendall(head + data)
        yield connection


def test_an_answer_that_its_client_takes_too_slowly_is_no_failure_of_the_version(
    fresh: Callable[..., Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.proxy, "TIMEOUT_S", 3.0)
    with vllm(Stub()) as quick, fresh(vllm=quick) as client, sleepy(client) as slow:
        began = slow.recv(1_000).decode()
        wait_until(lambda: client.metric("fuelline_gateway_in_flight") == 0, "its time is over")
        assert client.metric("fuelline_gateway_requests_total", outcome="cancelled") == 1
        assert client.metric("fuelline_gateway_requests_total", outcome="timeout") == 0
    [interaction] = re.findall(r"x-interaction-id: (\S+)", began)
    assert recorded(settings, "predictions", interaction)["failed"] is False
    assert recorded(settings, "agents", interaction)["error"] is True


def test_a_client_that_does_not_take_the_last_piece_keeps_no_place(
    fresh: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.responses, "CLIENT_S", 0.5)
    with vllm(Stub()) as quick, fresh(vllm=quick) as client, sleepy(client, stream=False) as slow:
        slow.recv(1_000)
        wait_until(lambda: client.metric("fuelline_gateway_in_flight") == 0, "it is let go")
        assert client.metric("fuelline_gateway_requests_total", outcome="answered") == 1


def test_a_request_that_does_not_come_keeps_no_place(
    fresh: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.responses, "CLIENT_S", 0.2)
    with fresh(concurrency=1) as client, socket.create_connection(("127.0.0.1", client.port), 60) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert slow.recv(1_000).startswith(b"HTTP/1.1 408")
        assert client.chat().status == 200


def test_headers_have_a_limit(client: Client) -> None:
    told = client.chat(headers={"x-padding": "x" * 40_000})
    assert (told.status, told.json["error"]["code"]) == (431, "headers_too_large")


def test_without_any_replica_it_says_so_and_records_it(fresh: Callable[..., Any], settings: Settings) -> None:
    with fresh(vllm=f"http://127.0.0.1:{free_port()}") as client:
        told = client.chat(stream=True)
        assert (told.status, told.json["error"]["code"]) == (503, "unreachable")
        assert recorded(settings, "predictions", told.id)["failed"] is True


def test_a_replica_that_is_too_slow_is_given_up(
    fresh: Callable[..., Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.proxy, "TIMEOUT_S", 0.3)
    with fresh() as client:
        told = client.chat(":slow")
        assert (told.status, told.json["error"]["code"]) == (504, "timeout")
        row = recorded(settings, "agents", told.id)
        assert row["error"] is True
        assert 290 <= row["latency_ms"] <= 30_000  # the timer and the record have clocks of different steps


def test_features_come_from_a_redis_as_well(
    fresh: Callable[..., Any], settings: Settings, stub: Stub, redis_url: str
) -> None:
    remember_a_regular(settings.model_copy(update={"online": redis_url}))
    with fresh(online=redis_url) as client:
        client.chat(user="regular")
        assert "a regular and brief" in stub.asked[-1]["messages"][0]["content"]


def test_without_redis_it_answers_without_features_and_counts(fresh: Callable[..., Any]) -> None:
    with fresh(online=f"redis://127.0.0.1:{free_port()}") as client:
        assert {client.chat(user="regular").status for _ in range(12)} == {200}
        assert client.metric("fuelline_gateway_feature_misses_total") == 12
        assert client.metric("fuelline_gateway_feature_misses_total", reason="resting") > 0


def test_a_redis_that_never_answers_costs_no_more(fresh: Callable[..., Any], stub: Stub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with fresh(online=address) as client:
            assert {client.chat(user="regular").status for _ in range(12)} == {200}
            assert client.metric("fuelline_gateway_feature_misses_total") == 12
            assert "The user is new" in stub.asked[-1]["messages"][0]["content"]


def test_while_the_ledger_is_out_of_reach_the_last_routes_stay(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise PeerError("away")

    with monkeypatch.context() as patch:
        patch.setattr(serving.gateway.route_cache, "route_of", away)
        before = client.metric("fuelline_gateway_route_reads_total", outcome="failed")
        wait_until(
            lambda: client.metric("fuelline_gateway_route_reads_total", outcome="failed") > before, "a look has failed"
        )
        assert client.chat().status == 200
        assert client.get("/ready").status == 200


def test_it_is_not_ready_and_answers_nobody_before_it_knows_the_routes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.testclient import TestClient

    gate = threading.Event()

    def late(*arguments: Any) -> Any:
        gate.wait(60)
        return route_of(*arguments)

    monkeypatch.setattr(serving.gateway.route_cache, "route_of", late)
    body = {"model": "jamie", "messages": [{"role": "user", "content": "x"}]}
    with TestClient(build(settings, spool=tmp_path / "spool.db")) as early:
        try:
            assert early.get("/ready").status_code == 503
            assert early.post("/v1/chat/completions", json=body).json()["error"]["code"] == "not_ready"
        finally:
            gate.set()


@pytest.mark.parametrize("option", ["--concurrency", "--port"])
@pytest.mark.parametrize("number", ["-1", "0", "65536", "1.5", "many"])
def test_a_number_that_would_serve_nobody_is_refused_at_once(option: str, number: str) -> None:
    refused = CliRunner().invoke(main, ["serve", "gateway", f"{option}={number}"])
    assert refused.exit_code == 2
    assert f"Invalid value for '{option}': " in refused.stderr


def test_without_a_replica_in_the_settings_it_does_not_start(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="FUELLINE_VLLM is not set"):
        build(settings.model_copy(update={"vllm": ""}))


def test_a_rollout_sends_each_user_to_one_side_and_a_roll_back_ends_it(tmp_path: Path) -> None:
    lake = lake_with_tiny(tmp_path)
    version = register(lake, shown_better(trained(lake)), SPEC, PROFILE)
    lake.ledger.append("models/agents", "rollout_opened", "r1", {"version": version.version, "baseline": "base"})
    lake.ledger.append("models/agents", "canary_widened", "w1", {"rollout": "r1", "share": 0.5})
    users = [f"u{n}" for n in range(16)]
    with vllm(Stub(pause_s=0.006)) as address:
        settings = lake.settings.model_copy(update={"vllm": address})
        with gateway(build(settings)) as client:
            first = {user: client.chat(user=user) for user in users}
            assert {user: told.json["model"] for user, told in first.items()} == {
                user: client.chat(user=user).json["model"] for user in users
            }
            assert {told.json["model"] for told in first.values()} == {"base", version.adapter_name}
            for told in first.values():
                row = recorded(settings, "predictions", told.id)
                arms = {version.adapter_name: "candidate", "base": "stable"}
                assert (row["rollout"], row["arm"], row["model_version"]) == (
                    "r1",
                    arms[told.json["model"]],
                    told.json["model"],
                )
                assert row["unit"]
            lake.ledger.append("models/agents", "rolled_back", "b1", {"version": version.version, "baseline": "base"})
            wait_until(lambda: {client.chat(user=user).json["model"] for user in users} == {"base"}, "rolled back")


def test_no_answered_request_is_lost_or_doubled_when_the_gateway_is_killed(tmp_path: Path) -> None:
    with vllm(Stub(pause_s=0.001)) as address:
        settings = read_settings(home=tmp_path, lake="test", vllm=address)
        know_the_agents(open_lake(settings))
        client, answered = Client(free_port()), []

        def ask() -> None:
            while True:
                try:
                    told = client.chat(stream=True)
                except (OSError, HTTPException):  # it was killed
                    return
                if told.status == 200 and told.events[-1:] == ["[DONE]"]:
                    answered.append(told.id)

        process = started(settings, client)
        askers = [threading.Thread(target=ask) for _ in range(6)]
        for one in askers:
            one.start()
        wait_until(lambda: len(answered) > 300, "some are answered")
        process.send_signal(signal.SIGKILL)
        process.wait()
        for one in askers:
            one.join()
        process = started(settings, client)
        wait_until(lambda: client.metric("fuelline_gateway_spool_rows") == 0, "the spool is empty")
        process.terminate()
        process.wait()
    predictions = rows(settings, "predictions")
    assert len(answered) > 300
    assert set(answered) <= predictions.keys()


def started(settings: Settings, client: Client) -> "subprocess.Popen[bytes]":
    """The real command, ready."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FUELLINE_")}
    environment |= {
        "FUELLINE_HOME": str(settings.home),
        "FUELLINE_LAKE": settings.lake,
        "FUELLINE_VLLM": settings.vllm,
    }
    command = [sys.executable, "-W", "ignore", "-m", "serving.gateway", "--port", str(client.port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: client.get("/ready").status == 200, "the command serves")
    return process


def test_what_the_disk_lets_an_answer_wait_is_no_fault_of_the_version(
    fresh: Callable[..., Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: Spool) -> None:
        await asyncio.sleep(1.5)

    monkeypatch.setattr(serving.gateway.proxy, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(Spool, "quiet", slow)
    with vllm(Stub(pause_s=0.001)) as quick, fresh(vllm=quick) as client:
        told = client.chat()
        assert told.status == 200
    prediction = recorded(settings, "predictions", told.json["id"])
    assert prediction["failed"] is False
    assert prediction["latency_ms"] < 1_000
