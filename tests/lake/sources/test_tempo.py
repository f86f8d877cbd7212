"""Traces out of Tempo, by its documented answers over HTTP: search without pages, spans by trace, ids of both kinds."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import lake.sources.servers.tempo
from errors import PeerError, SourceError
from lake.contracts.telemetry import TRACES
from lake.lake import Lake
from lake.sources.pull import pull_chunk
from lake.sources.selection import Pulled, Selection
from lake.windows import Window
from tests.conftest import free_port
from tests.lake.sources.conftest import Reader
from tests.lake.sources.peer import Peer, Reply, Request, plain

START = datetime(2026, 11, 2, 6, tzinfo=UTC)
WINDOW = Window(start=START, end=START + timedelta(hours=1))
ZERO = int(START.timestamp()) * 10**9
Pointed = Callable[..., Lake]


def span(trace: int, number: int, **changes: Any) -> dict[str, Any]:
    """A span as Tempo writes it: bytes in base 64, 64-bit numbers as text."""
    begin = ZERO + trace * 10**9 + number * 1000
    usual: dict[str, Any] = {
        "traceId": base64.b64encode(trace.to_bytes(16, "big")).decode(),
        "spanId": base64.b64encode((number + 1).to_bytes(8, "big")).decode(),
        "name": "chat",
        "kind": "SPAN_KIND_SERVER",
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(begin + 1_234_567),
        "attributes": [{"key": "b", "value": {"intValue": "7"}}, {"key": "a", "value": {"stringValue": "x"}}],
        "status": {"code": "STATUS_CODE_ERROR"},
    }
    if number:
        usual["parentSpanId"] = base64.b64encode((1).to_bytes(8, "big")).decode()
    return {**usual, **changes}


class Tempo:
    """Traces by number: the number is the second of the hour in which it began; each has some spans."""

    def __init__(self, traces: dict[int, list[dict[str, Any]]]) -> None:
        self.traces = traces

    def __call__(self, request: Request) -> Reply:
        if request.path == "/api/search":
            start, end, limit = (int(request.parameters[name]) for name in ("start", "end", "limit"))
            found = [number for number in self.traces if start <= ZERO // 10**9 + number < end]
            return plain({"traces": [{"traceID": f"{number:x}"} for number in found[:limit]], "metrics": {}})
        spans = self.traces.get(int(request.path.rpartition("/")[2], 16))
        if spans is None:
            return Reply(status=404)
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "gateway"}}]}
        return plain({"batches": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})


def pull(lake: Lake, reader: Reader, **changes: Any) -> Pulled:
    chosen = Selection(data_set="processed.traces", queries={"agents": "{}"}, **changes)
    [done] = pull_chunk(lake, chosen, WINDOW, connect=reader)
    return done


def rows(lake: Lake) -> list[dict[str, Any]]:
    version = lake.tables.current(TRACES)
    assert version
    found: list[dict[str, Any]] = lake.tables.read(version).sort_by("timestamp").to_pylist()
    return found


def test_every_span_is_a_row_with_its_ids_in_hexadecimal(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    peer.answer = Tempo({5: [span(5, 0), span(5, 1)]})
    pulled_lake = pointed(tempo=f"studio={peer.url}")
    done = pull(pulled_lake, reader)
    assert (done.committed, done.requests) == (2, 2)
    root, child = rows(pulled_lake)
    assert (root["trace_id"], root["span_id"], root["parent_id"]) == (f"{5:032x}", f"{1:016x}", None)
    assert (child["span_id"], child["parent_id"]) == (f"{2:016x}", f"{1:016x}")
    assert (root["duration_ns"], root["service"], root["status"]) == (1_234_567, "gateway", "STATUS_CODE_ERROR")
    assert json.loads(root["attributes"]) == {"a": "x", "b": "7"}


def test_ids_that_are_hexadecimal_already_and_the_newer_form_of_a_trace_are_the_same(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    newer = span(5, 0, traceId=f"{5:032X}", spanId=f"{1:016X}")
    body = {"trace": {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [newer, span(5, 0)]}]}]}}
    tempo = Tempo({5: []})
    peer.answer = lambda request: tempo(request) if request.path == "/api/search" else plain(body)
    pulled_lake = pointed(tempo=f"studio={peer.url}")
    assert (pull(pulled_lake, reader).committed, len(rows(pulled_lake))) == (1, 1)


def test_an_incomplete_search_is_halved_until_it_is_complete(
    peer: Peer, pointed: Pointed, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake.sources.servers.tempo, "TRACES_MAX", 8)
    peer.answer = Tempo({number: [span(number, 0)] for number in range(0, 3600, 60)})
    pulled_lake = pointed(tempo=f"studio={peer.url}")
    assert pull(pulled_lake, reader).committed == 60
    peer.answer = Tempo({number: [span(number, 0)] for number in range(100, 120)})
    monkeypatch.setattr(lake.sources.servers.tempo, "TRACES_MAX", 2)
    with pytest.raises(SourceError, match="2 traces or more within two seconds"):
        pull(pointed(tempo=f"forge={peer.url}"), reader)


def test_late_spans_are_added_to_their_trace(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    tempo = Tempo({5: [span(5, 0)]})
    peer.answer = tempo
    pulled_lake = pointed(tempo=f"studio={peer.url}")
    pull(pulled_lake, reader)
    tempo.traces[5] = [span(5, 2), span(5, 0), span(5, 1)]
    later = Window(start=START, end=START + timedelta(minutes=30))
    [done] = pull_chunk(
        pulled_lake, Selection(data_set="processed.traces", queries={"agents": "{}"}), later, connect=reader
    )
    assert (done.committed, done.duplicates) == (2, 1)


def test_a_vanished_trace_is_counted_and_an_invalid_span_is_quarantined(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    backwards = span(5, 1, endTimeUnixNano=str(ZERO))
    tempo = Tempo({5: [span(5, 0), backwards, span(5, 2, name=None)], 6: [span(6, 0)]})

    def forgetful(request: Request) -> Reply:
        if request.path == "/api/search":
            reply = tempo(request)
            tempo.traces.pop(6, None)
            return reply
        return tempo(request)

    peer.answer = forgetful
    done = pull(pointed(tempo=f"studio={peer.url}"), reader)
    assert (done.committed, done.faults) == (1, {"vanished": 1})
    assert done.reasons == {"duration_out_of_range": 1, "null_required": 1}


@pytest.mark.parametrize(
    "fault",
    [Reply(status=500), Reply(status=429, headers={"Retry-After": "1"}), Reply(b'{"traces":[', cut=4)],
    ids=["5xx", "429", "truncated"],
)
def test_a_transient_fault_loses_no_span(peer: Peer, pointed: Pointed, reader: Reader, fault: Reply) -> None:
    peer.answer, peer.script = Tempo({5: [span(5, 0)]}), [fault]
    done = pull(pointed(tempo=f"studio={peer.url}"), reader)
    assert (done.committed, len(reader.waits)) == (1, 1)


def test_a_tempo_that_is_down_slow_or_no_tempo_fails_the_pull(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    reader.limits = replace(reader.limits, read_s=0.2, tries=2)
    with pytest.raises(PeerError, match="at last: down"):
        pull(pointed(tempo=f"studio=http://127.0.0.1:{free_port()}"), reader)
    for reply, words in ((Reply(late_s=9), "timeout"), (Reply(b"<html>"), "not JSON"), (Reply(b"[1]"), "another form")):
        peer.answer = lambda _, reply=reply: reply  # type: ignore[misc]
        with pytest.raises(PeerError, match=words):
            pull(pointed(tempo=f"studio={peer.url}"), reader)
