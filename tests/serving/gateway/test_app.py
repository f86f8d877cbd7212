"""The gateway over HTTP, in front of a replica that works, is slow, fails or is unreachable."""

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
from serving.gateway.auth import key_digest, make_key
from serving.gateway.spool import Spool
from serving.routing.routes import route_of
from settings import Settings, read_settings
from tests.conftest import free_port
from tests.doubles.vllm_stub import OTHER, WORDS, VllmStub
from tests.serving.live import HttpClient, add_agents_model, gateway, vllm, wait_until
from tests.world.world import PROFILE, SPEC, lake_with_tiny, shown_better, trained

REGULAR = {"total_queries": 30, "avg_query_length": 12.5}
TABLES = {
    "agents": "processed.agent_interactions",
    "predictions": "processed.model_predictions",
    "feedback": "processed.agent_feedback",
}


@pytest.fixture(scope="module", autouse=True)
def frequent_uploads() -> Iterator[None]:
    """Upload the spool often, so that tests need not wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.gateway.uploader, "INTERVAL_S", 0.2)
        yield


@pytest.fixture(scope="module")
def stub() -> VllmStub:
    """The replica of most tests; it records its requests and answers with the least latency of the contract."""
    return VllmStub(keep=True, pause_s=0.006)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, stub: VllmStub) -> Iterator[Settings]:
    """A lake with the model ``agents``, online features of a regular user, and a replica."""
    folder = tmp_path_factory.mktemp("gateway")
    with vllm(stub) as address:
        settings = read_settings(
            home=folder / "home", lake="test", cache=folder / "cache", vllm=address, cluster="studio"
        )
        add_agents_model(open_lake(settings))
        push_regular_user(settings)
        push_cluster(settings)
        yield settings


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[HttpClient]:
    """One gateway for all tests that need no settings of their own."""
    with gateway(build(settings)) as running:
        yield running


def push_regular_user(settings: Settings) -> None:
    """Push the features of the user ``regular``."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    values: dict[str, Any] = {column.name: 1 for column in USER_FEATURES.columns} | REGULAR
    values |= {"user_id": "regular", "event_timestamp": midnight, "created_timestamp": midnight + USER_FEATURES.delay}
    values |= {"most_used_agent": "jamie", "error_rate": 0.0, "avg_latency_ms": 150.0}
    open_feature_store(settings).write_to_online_store(USER_FEATURES.name, df=pd.DataFrame([values]))


def push_cluster(settings: Settings) -> None:
    """Push the features of the namespace in which the gateway's agents run, and of another cluster's."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    view = INFRASTRUCTURE_FEATURES
    values = {"event_timestamp": hour, "created_timestamp": hour + view.delay, "restarts": 0, "warning_events": 5}
    columns = {column.name: None for column in view.columns} | values
    entities = [{**columns, view.entity: "studio/agents", "restarts": 3}, {**columns, view.entity: "forge/agents"}]
    open_feature_store(settings).write_to_online_store(
        view.name, df=pd.DataFrame(entities).astype({"crash_loops": "Int64"})
    )


def rows(settings: Settings, source: str) -> dict[str, dict[str, Any]]:
    """The lake's rows of a source, by interaction, after collecting the inbox. Checks that each exists once."""
    lake, definition = open_lake(settings), contract(TABLES[source])
    collect_all(lake, definition, source)
    version = lake.tables.current(definition)
    found = lake.tables.read(version).to_pylist() if version else []
    assert max(Counter(row["interaction_id"] for row in found).values(), default=1) == 1
    return {row["interaction_id"]: row for row in found}


def recorded(settings: Settings, source: str, interaction: str) -> dict[str, Any]:
    """The row of one interaction, once it is in the lake."""
    wait_until(lambda: interaction in rows(settings, source), f"{interaction} is in {source}")
    return rows(settings, source)[interaction]


def test_an_answer_is_forwarded_unchanged_and_carries_its_interaction_id(client: HttpClient) -> None:
    answer = client.chat()
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == " ".join(WORDS)
    assert answer.json["id"] == answer.id
    assert answer.json["model"] == "base"


def test_a_stream_is_forwarded_event_by_event(client: HttpClient) -> None:
    answer = client.chat(stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = [json.loads(event) for event in answer.events[:-1]]
    assert answer.events[-1] == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks).split() == list(WORDS)
    assert {chunk["id"] for chunk in chunks} == {answer.id}


def test_token_counts_end_a_stream_only_on_request(client: HttpClient) -> None:
    answer = client.chat(stream=True, stream_options={"include_usage": True})
    assert json.loads(answer.events[-2])["usage"]["completion_tokens"] == len(WORDS)
    assert "usage" not in client.chat(stream=True).body.decode()


def test_the_replica_gets_the_prompt_that_training_renders(client: HttpClient, stub: VllmStub) -> None:
    client.chat("how are you", user="regular", temperature=0.5)
    sent = stub.requests[-1]
    assert sent["messages"] == render("jamie", REGULAR, "how are you")
    assert "a regular and brief" in sent["messages"][0]["content"]
    assert (sent["model"], sent["temperature"]) == ("base", 0.5)
    assert "user" not in sent


def test_a_conversation_follows_the_system_message_unchanged(client: HttpClient, stub: VllmStub) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
    ]
    answer = client.post(
        "/v1/chat/completions", {"model": "agents", "messages": messages}, x_agent="bruno", x_user="nobody"
    )
    assert answer.status == 200
    assert stub.requests[-1]["messages"] == [render("bruno", None, "second")[0], *messages]


def test_tools_are_forwarded_and_a_tool_call_is_an_answer(
    client: HttpClient, stub: VllmStub, settings: Settings
) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    for stream in (False, True):
        answer = client.chat(":tool", tools=tools, tool_choice="auto", stream=stream)
        assert stub.requests[-1]["tools"] == tools
        assert b'"look"' in answer.body
        assert recorded(settings, "predictions", answer.id)["failed"] is False
    wait_until(lambda: client.metric("fuelline_gateway_spool_rows") == 0, "the spool is empty")
    assert client.metric("fuelline_gateway_requests_total", outcome="answered") > 0


def test_an_interaction_and_its_prediction_reach_the_lake(client: HttpClient, settings: Settings) -> None:
    answer = client.chat("how are you", user="regular", stream=True)
    interaction, prediction = (recorded(settings, source, answer.id) for source in ("agents", "predictions"))
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
    ("behaviour", "stream", "status", "code"),
    [
        (":fail", False, 502, "upstream_error"),
        (":fail", True, 502, "upstream_error"),
        (":missing", True, 502, "version_not_loaded"),
        (":break", True, 200, "upstream_error"),
    ],
)
def test_a_failed_call_returns_an_error_and_is_recorded(
    client: HttpClient, settings: Settings, behaviour: str, stream: bool, status: int, code: str
) -> None:
    answer = client.chat(behaviour, stream=stream)
    assert answer.status == status
    error = (json.loads(answer.events[-1]) if status == 200 else answer.json)["error"]
    assert error["code"] == code
    assert error["type"] == "server_error"
    assert recorded(settings, "predictions", answer.id)["failed"] is True
    assert recorded(settings, "agents", answer.id)["error"] is True


def test_a_stream_that_breaks_off_after_its_end_is_complete(client: HttpClient, settings: Settings) -> None:
    answer = client.chat(":cut", stream=True)
    assert answer.events[-1] == "[DONE]"
    choices = [json.loads(event)["choices"] for event in answer.events[:-1]]
    assert [choice[0]["delta"].get("content") for choice in choices if choice][1:-1] == [f"{word} " for word in WORDS]
    assert recorded(settings, "predictions", answer.id)["failed"] is False
    assert recorded(settings, "agents", answer.id)["response"].split() == list(WORDS)


def test_a_refusal_of_the_replica_is_forwarded_and_recorded_as_a_failure(
    client: HttpClient, settings: Settings
) -> None:
    answer = client.chat(":refuse")
    assert (answer.status, answer.json["error"]["message"]) == (400, "no")
    assert recorded(settings, "agents", answer.id)["error"] is True
    assert recorded(settings, "predictions", answer.id)["failed"] is True


def test_an_answer_with_neither_text_nor_a_tool_call_is_a_failure(client: HttpClient, settings: Settings) -> None:
    answer = client.chat(":silent", stream=True)
    assert answer.events[-1] == "[DONE]"
    assert recorded(settings, "predictions", answer.id)["failed"] is True


def test_the_recorded_version_is_the_one_that_answered(client: HttpClient, settings: Settings) -> None:
    answer = client.chat(":other")
    assert recorded(settings, "predictions", answer.id)["model_version"] == OTHER
    assert client.metric("fuelline_gateway_other_version_total", asked="base", answered=OTHER) == 1


@pytest.mark.parametrize(("behaviour", "has_begun"), [(":slow", False), (":stall", True)])
def test_a_client_that_leaves_ends_the_call_and_counts_as_slow(
    client: HttpClient, settings: Settings, behaviour: str, has_begun: bool
) -> None:
    before, user = client.metric("fuelline_gateway_requests_total", outcome="cancelled"), f"leaver{behaviour}"
    request = {
        "model": "jamie",
        "user": user,
        "messages": [{"role": "user", "content": behaviour}],
        "stream": has_begun,
    }
    body = json.dumps(request).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(head + body)
        wait_until(lambda: client.metric("fuelline_gateway_in_flight") >= 1, "the request is in progress")
        received = b""
        while has_begun and WORDS[0].encode() not in received:
            received += connection.recv(4_096)
    wait_until(
        lambda: client.metric("fuelline_gateway_requests_total", outcome="cancelled") > before,
        "the disconnect was noticed",
    )
    wait_until(lambda: any(r["user_id"] == user for r in rows(settings, "agents").values()), "the row is in the lake")
    [row] = [row for row in rows(settings, "agents").values() if row["user_id"] == user]
    assert row["error"] is True
    assert row["latency_ms"] < 30_000
    prediction = recorded(settings, "predictions", row["interaction_id"])
    assert (prediction["failed"], prediction["latency_ms"]) == (not has_begun, 30_000)


def test_the_time_a_client_takes_to_send_its_request_is_not_latency(client: HttpClient, settings: Settings) -> None:
    request = {"model": "jamie", "user": "slow-sender", "messages": [{"role": "user", "content": "x"}]}
    body = json.dumps(request).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(head)
        time.sleep(4)
        connection.sendall(body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    wait_until(
        lambda: any(r["user_id"] == "slow-sender" for r in rows(settings, "agents").values()), "the row is in the lake"
    )
    [row] = [row for row in rows(settings, "agents").values() if row["user_id"] == "slow-sender"]
    assert row["latency_ms"] < 4_000


def test_feedback_reaches_the_lake_under_its_interaction(client: HttpClient, settings: Settings) -> None:
    answer = client.chat()
    assert client.post("/v1/feedback", {"interaction_id": answer.id, "rating": "down"}).status == 200
    assert recorded(settings, "feedback", answer.id)["value"] == 0


@pytest.mark.parametrize(
    "body", [{"interaction_id": "i1", "rating": "up"}, {"interaction_id": f"chatcmpl-{'0' * 32}", "rating": 1}, []]
)
def test_invalid_feedback_is_refused(client: HttpClient, body: object) -> None:
    assert client.post("/v1/feedback", body).status == 400


@pytest.mark.parametrize("name", ["agents@3f9c2a71", "base", "bruno", "../outside"])
def test_a_client_cannot_name_a_version_or_another_agent(client: HttpClient, name: str) -> None:
    answer = client.chat(model=name, headers={"x-agent": "jamie"})
    assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")
    assert "agents, jamie" in answer.json["error"]["message"]


@pytest.mark.parametrize("name", ["jamie", "agents", ""])
def test_an_agent_and_its_model_are_valid_names(client: HttpClient, name: str) -> None:
    assert client.chat(model=name, headers={"x-agent": "jamie"}).status == 200


def test_the_agent_must_be_named_and_known(client: HttpClient) -> None:
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
def test_an_invalid_request_is_refused_in_openais_form(client: HttpClient, body: object, status: int) -> None:
    answer = client.post("/v1/chat/completions", body)
    assert answer.status == status
    assert answer.json["error"]["type"] == "invalid_request_error"


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
def test_a_field_that_changes_or_shows_the_prompt_is_refused(client: HttpClient, field: str, value: Any) -> None:
    answer = client.chat(**{field: value})
    assert (answer.status, answer.json["error"]["code"]) == (400, f"invalid_{field}")


@pytest.mark.parametrize("depth", [200, 500, 900, 960, 990, 1_020])
def test_a_deeply_nested_request_is_forwarded_or_refused_and_never_a_failure_of_a_version(
    client: HttpClient, depth: int
) -> None:
    failed = client.metric("fuelline_gateway_requests_total", outcome="upstream_error")
    messages = '"messages": [{"role": "user", "content": "x"}]'
    answer = client.post(
        "/v1/chat/completions", f'{{"model": "jamie", {messages}, "metadata": {"[" * depth}{"]" * depth}}}'.encode()
    )
    assert answer.status in (200, 400)
    assert client.metric("fuelline_gateway_requests_total", outcome="upstream_error") == failed


def test_a_large_integer_is_forwarded_unchanged(client: HttpClient, stub: VllmStub) -> None:
    large = 123456789012345678901234567890
    body = {"model": "jamie", "messages": [{"role": "user", "content": "x"}], "seed": large}
    assert client.post("/v1/chat/completions", body).status == 200
    assert stub.requests[-1]["seed"] == large


def test_characters_that_utf_8_cannot_encode_are_replaced(client: HttpClient, settings: Settings) -> None:
    answer = client.chat("a\ud800b")
    assert recorded(settings, "agents", answer.id)["user_query"] == "a?b"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models/", "/v1/chat/completions/"])
def test_an_unknown_path_is_an_error_in_openais_form(client: HttpClient, path: str) -> None:
    for answer in (client.get(path), client.post(path, {})):
        assert (answer.status, answer.json["error"]["type"]) == (404, "not_found_error")
        assert answer.json["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/chat/completions"])
def test_a_wrong_method_is_an_error_that_names_the_right_one(client: HttpClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status, answer.json["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_the_models_endpoint_lists_the_valid_names(client: HttpClient) -> None:
    names = [model["id"] for model in client.get("/v1/models").json["data"]]
    assert names == ["agents", "auditor", "bruno", "jamie", "mary-kay"]


def test_metrics_are_labelled_by_agent_version_and_outcome(client: HttpClient) -> None:
    client.chat(stream=True)
    assert client.metric("fuelline_gateway_requests_total", agent="jamie", model_version="base", outcome="answered") > 0
    assert client.metric("fuelline_gateway_latency_seconds_count", model_version="base") > 0
    assert client.metric("fuelline_gateway_time_to_first_token_seconds_count", model_version="base") > 0
    assert client.metric("fuelline_gateway_tokens_total", model_version="base", kind="completion") > 0
    assert client.get("/health").status == 200


def test_no_text_of_a_user_is_logged(client: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for behaviour in ("my secret", ":fail my secret", ":other my secret"):
            client.chat(behaviour, user="secret-user")
        client.post("/v1/chat/completions", b"{my secret")
    assert "secret" not in caplog.text


@pytest.fixture
def fresh(settings: Settings, tmp_path: Path) -> Callable[..., Any]:
    """Starts another gateway on the same lake with changed settings."""

    def start(concurrency: int = 256, **changes: Any) -> Any:
        changed = settings.model_copy(update=changes)
        return gateway(build(changed, spool=tmp_path / "spool.db", concurrency=concurrency))

    return start


def test_feedback_that_the_spool_cannot_store_is_an_error_and_counted(
    fresh: Callable[..., Any], tmp_path: Path
) -> None:
    feedback = {"interaction_id": f"chatcmpl-{'0' * 32}", "rating": "up"}
    with fresh() as client:
        with closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = client.post("/v1/feedback", feedback)
            other.execute("ROLLBACK")
        assert (answer.status, answer.json["error"]["code"]) == (503, "not_recorded")
        assert answer.headers["retry-after"] == "1"
        assert client.metric("fuelline_gateway_rows_lost_total") == 1
        assert client.metric("fuelline_gateway_feedback_total") == 0
        assert client.post("/v1/feedback", feedback).status == 200


def test_a_key_is_accepted_until_it_is_removed_from_the_file(fresh: Callable[..., Any], tmp_path: Path) -> None:
    key, file = make_key(), tmp_path / "keys.json"
    file.write_text(json.dumps({key_digest(key): "jamie"}))
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
        wait_until(lambda: client.chat(headers=bearer).status == 401, "the key is removed")


def test_more_requests_than_the_limit_are_refused_with_retry_after(fresh: Callable[..., Any]) -> None:
    with vllm(VllmStub(pause_s=0.2)) as slow, fresh(concurrency=1, vllm=slow) as client:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.chat, stream=True)
            wait_until(lambda: client.metric("fuelline_gateway_in_flight") == 1, "one request is in progress")
            answer = client.chat()
            assert (answer.status, answer.json["error"]["type"]) == (429, "rate_limit_error")
            assert answer.headers["retry-after"] == "1"
            assert first.result().status == 200
        assert client.chat(":silent").status == 200


def test_feedback_counts_in_the_limit_of_requests(fresh: Callable[..., Any]) -> None:
    feedback = {"interaction_id": f"chatcmpl-{'0' * 32}", "rating": "up"}
    with fresh(concurrency=1) as client:
        with socket.create_connection(("127.0.0.1", client.port), 60) as slow:
            slow.sendall(b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            wait_until(lambda: client.metric("fuelline_gateway_in_flight") == 1, "one request is in progress")
            answer = client.post("/v1/feedback", feedback)
            assert (answer.status, answer.json["error"]["code"]) == (429, "too_many_requests")
            assert answer.headers["retry-after"] == "1"
        wait_until(lambda: client.post("/v1/feedback", feedback).status == 200, "the slow client has left")


def test_a_replica_that_accepts_no_connection_is_skipped(fresh: Callable[..., Any], settings: Settings) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with fresh(vllm=f"{dead},{settings.vllm}") as client:
        assert {client.chat().status for _ in range(6)} == {200}
        assert client.metric("fuelline_gateway_unreachable_total", replica=dead) >= 1


def test_a_pod_whose_proxy_finds_no_vllm_is_skipped(fresh: Callable[..., Any], settings: Settings) -> None:
    with vllm(VllmStub(unavailable=True)) as empty, fresh(vllm=f"{empty},{settings.vllm}") as client:
        assert {client.chat().status for _ in range(6)} == {200}
        assert client.metric("fuelline_gateway_unreachable_total", replica=empty) >= 1
    with vllm(VllmStub(unavailable=True)) as empty, fresh(vllm=empty) as client:
        assert client.chat().json["error"]["code"] == "unreachable"


def test_a_version_missing_on_one_replica_while_the_other_is_down_is_not_loaded(
    fresh: Callable[..., Any], settings: Settings
) -> None:
    with fresh(vllm=f"{settings.vllm},http://127.0.0.1:{free_port()}") as client:
        codes = [client.chat(":missing").json["error"]["code"] for _ in range(4)]
    assert set(codes) == {"version_not_loaded"}


@contextmanager
def slow_reader(client: HttpClient, *, stream: bool = True) -> Iterator[socket.socket]:
    """A client that requests a long answer and has almost no buffer for it."""
    body = {"model": "jamie", "messages": [{"role": "user", "content": ":long"}], "stream": stream}
    data = json.dumps(body).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", client.port))
        connection.sendall(head + data)
        yield connection


def test_an_answer_that_its_client_reads_too_slowly_is_not_a_failure_of_the_version(
    fresh: Callable[..., Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.proxy, "TIMEOUT_S", 3.0)
    with vllm(VllmStub()) as quick, fresh(vllm=quick) as client, slow_reader(client) as slow:
        began = slow.recv(1_000).decode()
        wait_until(lambda: client.metric("fuelline_gateway_in_flight") == 0, "the time limit is over")
        assert client.metric("fuelline_gateway_requests_total", outcome="cancelled") == 1
        assert client.metric("fuelline_gateway_requests_total", outcome="timeout") == 0
    [interaction] = re.findall(r"x-interaction-id: (\S+)", began)
    assert recorded(settings, "predictions", interaction)["failed"] is False
    assert recorded(settings, "agents", interaction)["error"] is True


def test_a_client_that_does_not_read_the_last_piece_frees_its_slot(
    fresh: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.responses, "CLIENT_TIMEOUT_S", 0.5)
    with vllm(VllmStub()) as quick, fresh(vllm=quick) as client, slow_reader(client, stream=False) as slow:
        slow.recv(1_000)
        wait_until(lambda: client.metric("fuelline_gateway_in_flight") == 0, "the request has ended")
        assert client.metric("fuelline_gateway_requests_total", outcome="answered") == 1


def test_a_request_that_does_not_arrive_frees_its_slot(
    fresh: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.responses, "CLIENT_TIMEOUT_S", 0.2)
    with fresh(concurrency=1) as client, socket.create_connection(("127.0.0.1", client.port), 60) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert slow.recv(1_000).startswith(b"HTTP/1.1 408")
        assert client.chat().status == 200


def test_headers_have_a_limit(client: HttpClient) -> None:
    answer = client.chat(headers={"x-padding": "x" * 40_000})
    assert (answer.status, answer.json["error"]["code"]) == (431, "headers_too_large")


def test_without_any_replica_the_error_is_returned_and_recorded(fresh: Callable[..., Any], settings: Settings) -> None:
    with fresh(vllm=f"http://127.0.0.1:{free_port()}") as client:
        answer = client.chat(stream=True)
        assert (answer.status, answer.json["error"]["code"]) == (503, "unreachable")
        assert recorded(settings, "predictions", answer.id)["failed"] is True


def test_a_replica_that_is_too_slow_times_out(
    fresh: Callable[..., Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.proxy, "TIMEOUT_S", 0.3)
    with fresh() as client:
        answer = client.chat(":slow")
        assert (answer.status, answer.json["error"]["code"]) == (504, "timeout")
        row = recorded(settings, "agents", answer.id)
        assert row["error"] is True
        assert 290 <= row["latency_ms"] <= 30_000  # the timer and the record use clocks of different resolution


def test_features_are_read_from_redis_too(
    fresh: Callable[..., Any], settings: Settings, stub: VllmStub, redis_url: str
) -> None:
    push_regular_user(settings.model_copy(update={"online": redis_url}))
    with fresh(online=redis_url) as client:
        client.chat(user="regular")
        assert "a regular and brief" in stub.requests[-1]["messages"][0]["content"]


def test_without_redis_answers_go_without_features_and_are_counted(fresh: Callable[..., Any]) -> None:
    with fresh(online=f"redis://127.0.0.1:{free_port()}") as client:
        assert {client.chat(user="regular").status for _ in range(12)} == {200}
        assert client.metric("fuelline_gateway_feature_misses_total") == 12
        assert client.metric("fuelline_gateway_feature_misses_total", reason="resting") > 0


def test_a_redis_that_never_answers_is_counted_the_same(fresh: Callable[..., Any], stub: VllmStub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with fresh(online=address) as client:
            assert {client.chat(user="regular").status for _ in range(12)} == {200}
            assert client.metric("fuelline_gateway_feature_misses_total") == 12
            assert "The user is new" in stub.requests[-1]["messages"][0]["content"]


def test_the_last_routes_stay_while_the_ledger_is_unreachable(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object) -> None:
        raise PeerError("unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(serving.gateway.route_cache, "route_of", unavailable)
        before = client.metric("fuelline_gateway_route_reads_total", outcome="failed")
        wait_until(
            lambda: client.metric("fuelline_gateway_route_reads_total", outcome="failed") > before, "a read has failed"
        )
        assert client.chat().status == 200
        assert client.get("/ready").status == 200


def test_it_is_not_ready_and_refuses_requests_before_the_routes_are_loaded(
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
def test_an_invalid_number_is_refused_at_once(option: str, number: str) -> None:
    result = CliRunner().invoke(main, ["serve", "gateway", f"{option}={number}"])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': " in result.stderr


def test_it_does_not_start_without_a_replica_in_the_settings(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="FUELLINE_VLLM is not set"):
        build(settings.model_copy(update={"vllm": ""}))


def test_a_rollout_sends_each_user_to_one_arm_and_a_roll_back_ends_it(tmp_path: Path) -> None:
    lake = lake_with_tiny(tmp_path)
    version = register(lake, shown_better(trained(lake)), SPEC, PROFILE)
    lake.ledger.append("models/agents", "rollout_opened", "r1", {"version": version.version, "baseline": "base"})
    lake.ledger.append("models/agents", "canary_widened", "w1", {"rollout": "r1", "share": 0.5})
    users = [f"u{n}" for n in range(16)]
    with vllm(VllmStub(pause_s=0.006)) as address:
        settings = lake.settings.model_copy(update={"vllm": address})
        with gateway(build(settings)) as client:
            first = {user: client.chat(user=user) for user in users}
            assert {user: answer.json["model"] for user, answer in first.items()} == {
                user: client.chat(user=user).json["model"] for user in users
            }
            assert {answer.json["model"] for answer in first.values()} == {"base", version.adapter_name}
            for answer in first.values():
                row = recorded(settings, "predictions", answer.id)
                arms = {version.adapter_name: "candidate", "base": "stable"}
                assert (row["rollout"], row["arm"], row["model_version"]) == (
                    "r1",
                    arms[answer.json["model"]],
                    answer.json["model"],
                )
                assert row["unit"]
            lake.ledger.append("models/agents", "rolled_back", "b1", {"version": version.version, "baseline": "base"})
            wait_until(lambda: {client.chat(user=user).json["model"] for user in users} == {"base"}, "rolled back")


def test_no_answered_request_is_lost_or_duplicated_when_the_gateway_is_killed(tmp_path: Path) -> None:
    with vllm(VllmStub(pause_s=0.001)) as address:
        settings = read_settings(home=tmp_path, lake="test", vllm=address)
        add_agents_model(open_lake(settings))
        client, answered = HttpClient(free_port()), []

        def send_requests() -> None:
            while True:
                try:
                    answer = client.chat(stream=True)
                except (OSError, HTTPException):  # the gateway was killed
                    return
                if answer.status == 200 and answer.events[-1:] == ["[DONE]"]:
                    answered.append(answer.id)

        process = start_command(settings, client)
        clients = [threading.Thread(target=send_requests) for _ in range(6)]
        for thread in clients:
            thread.start()
        wait_until(lambda: len(answered) > 300, "some requests are answered")
        process.send_signal(signal.SIGKILL)
        process.wait()
        for thread in clients:
            thread.join()
        process = start_command(settings, client)
        wait_until(lambda: client.metric("fuelline_gateway_spool_rows") == 0, "the spool is empty")
        process.terminate()
        process.wait()
    predictions = rows(settings, "predictions")
    assert len(answered) > 300
    assert set(answered) <= predictions.keys()


def start_command(settings: Settings, client: HttpClient, *arguments: str) -> "subprocess.Popen[bytes]":
    """The real command, once it is ready."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FUELLINE_")}
    environment |= {
        "FUELLINE_HOME": str(settings.home),
        "FUELLINE_LAKE": settings.lake,
        "FUELLINE_VLLM": settings.vllm,
    }
    command = [sys.executable, "-W", "ignore", "-m", "serving.gateway", "--port", str(client.port), *arguments]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: client.get("/ready").status == 200, "the command serves")
    return process


def test_waiting_for_the_disk_is_not_latency_of_the_version(
    fresh: Callable[..., Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: Spool) -> None:
        await asyncio.sleep(1.5)

    monkeypatch.setattr(serving.gateway.proxy, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(Spool, "wait_for_sync", slow)
    with vllm(VllmStub(pause_s=0.001)) as quick, fresh(vllm=quick) as client:
        answer = client.chat()
        assert answer.status == 200
    prediction = recorded(settings, "predictions", answer.json["id"])
    assert prediction["failed"] is False
    assert prediction["latency_ms"] < 1_000
