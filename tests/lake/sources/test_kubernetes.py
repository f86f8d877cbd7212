"""Kubernetes events by list and watch, with real events of two clusters as the server's content."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from errors import PeerError, SourceError
from lake.contracts.telemetry import KUBERNETES_EVENTS
from lake.lake import Lake
from lake.sources.pull import pull_window
from lake.sources.selection import Pulled, Selection
from lake.windows import Window
from tests.conftest import free_port
from tests.lake.sources.conftest import Reader
from tests.lake.sources.kubernetes import GONE, Server
from tests.lake.sources.peer import Peer, Reply, Request

REAL = Path(__file__).parents[4] / "shared" / "data" / "real"
START = datetime(2026, 11, 2, 6, tzinfo=UTC)
PERIOD = timedelta(minutes=5)
Pointed = Callable[..., Lake]

real_events = pytest.mark.skipif(not REAL.is_dir(), reason="the shared test data are not at hand")


def event(name: str, count: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": name, "name": name, "resourceVersion": "1", "creationTimestamp": "2026-11-02T05:00:00Z"},
        "involvedObject": {"kind": "Pod", "namespace": "forge", "name": "vllm-0"},
        "reason": "BackOff",
        "message": "Back-off restarting failed container",
        "type": "Warning",
        "count": count,
        "firstTimestamp": "2026-11-02T05:00:00Z",
        "lastTimestamp": f"2026-11-02T05:{count:02d}:00Z",
        "source": {"component": "kubelet", "host": "forge-1"},
        **changes,
    }


def real(*folders: str) -> list[dict[str, Any]]:
    files = [path for folder in folders for path in sorted((REAL / folder).glob("*.json"))]
    return [event for path in files for event in json.loads(path.read_text())["items"] or ()]


def pull(lake: Lake, reader: Reader, number: int = 0, query: str = "*") -> Pulled:
    chosen = Selection(data_set="processed.kubernetes_events", queries={"all": query})
    window = Window(start=START + number * PERIOD, end=START + (number + 1) * PERIOD)
    [done] = pull_window(lake, chosen, window, connect=reader)
    return done


def table(lake: Lake) -> pa.Table:
    version = lake.tables.current(KUBERNETES_EVENTS)
    assert version
    return lake.tables.read(version)


@real_events
@pytest.mark.parametrize("folder", ["sbctl_bundle/events", "troubleshoot/preflight", "troubleshoot/supportbundle"])
def test_every_real_event_is_a_row_with_its_time_and_object(
    peer: Peer, pointed: Pointed, reader: Reader, folder: str
) -> None:
    events = real(folder)
    peer.answer = Server(events, page=30)
    lake = pointed(kubernetes=f"studio={peer.url}")
    done = pull(lake, reader)
    assert (done.landed, done.committed, done.quarantined) == (len(events), len(events), 0)
    assert len(peer.requests) == -(-len(events) // 30)
    rows = {row["uid"]: row for row in table(lake).to_pylist()}
    for event in events:
        row = rows[event["metadata"]["uid"]]
        assert (row["kind"], row["name"]) == (event["involvedObject"]["kind"], event["involvedObject"]["name"])
        assert (row["event_reason"], row["type"]) == (event["reason"], event["type"])
        assert row["timestamp"] == datetime.fromisoformat(event["lastTimestamp"] or event["eventTime"])


@real_events
def test_listing_a_cluster_twice_commits_its_events_once(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    server = Server(real("troubleshoot/preflight"))
    server.oldest = 10**9  # no watch covers this time: each pull lists
    peer.answer = server
    lake = pointed(kubernetes=f"studio={peer.url}")
    first = pull(lake, reader)
    again = pull(lake, reader, 1)
    assert (again.committed, again.duplicates) == (0, first.committed)
    assert again.faults == {"gone": 1}


def test_after_the_list_changes_are_watched_and_each_count_is_a_row(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    server = Server([event("a"), event("b")])
    peer.answer = server
    lake = pointed(kubernetes=f"studio={peer.url}")
    assert pull(lake, reader).cursor == {"all": {"resource_version": "1000"}}
    for count in (2, 3, 7):
        server.change(event("a", count))
    server.change(event("c"), "ADDED")
    server.change(event("b"), "DELETED")
    second = pull(lake, reader, 1)
    assert (second.committed, second.duplicates, second.cursor) == (4, 0, {"all": {"resource_version": "1005"}})
    assert peer.requests[-1].parameters["resourceVersion"] == "1000"
    assert sorted((row["uid"], row["count"]) for row in table(lake).to_pylist()) == [
        ("a", 1), ("a", 2), ("a", 3), ("a", 7), ("b", 1), ("c", 1)
    ]  # fmt: skip
    assert pull(lake, reader, 2).landed == 0
    assert peer.requests[-1].parameters["resourceVersion"] == "1005"


@pytest.mark.parametrize("whole", [True, False], ids=["status", "in the stream"])
def test_an_expired_resource_version_starts_a_new_list(
    peer: Peer, pointed: Pointed, reader: Reader, whole: bool
) -> None:
    server = Server([event("a")])
    peer.answer = server
    lake = pointed(kubernetes=f"studio={peer.url}")
    pull(lake, reader)
    server.change(event("a", 5))
    server.oldest = server.version
    peer.script = [Reply(json.dumps(GONE).encode(), status=410)] if whole else []
    second = pull(lake, reader, 1)
    assert (second.committed, second.faults) == (1, {"gone": 1})


def test_a_list_that_expires_while_it_is_read_starts_again(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    server = Server([event(str(number)) for number in range(6)], page=4)
    peer.answer = server
    peer.script = [server(Request("/", {"limit": "4"}, {})), Reply(json.dumps(GONE).encode(), status=410)]
    lake = pointed(kubernetes=f"studio={peer.url}")
    done = pull(lake, reader)
    assert (done.committed, done.duplicates, done.faults) == (6, 4, {"gone": 1})


def test_a_watch_that_breaks_off_keeps_its_events_and_the_next_continues(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    server = Server([event("a")])
    peer.answer = server
    lake = pointed(kubernetes=f"studio={peer.url}")
    pull(lake, reader)
    for count in (2, 3, 4):
        server.change(event("a", count))
    whole = server(Request("/", {"watch": "1", "resourceVersion": "1000"}, {}))
    assert whole.lines
    peer.script = [replace(whole, cut=len(whole.lines[0]) + 40)]
    broken = pull(lake, reader, 1)
    assert (broken.committed, broken.faults) == (1, {"truncated": 1})
    assert broken.cursor == {"all": {"resource_version": "1001"}}
    assert pull(lake, reader, 2).committed == 2


def test_an_event_of_the_newer_api_and_an_incomplete_one(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    seen = {"count": 9, "lastObservedTime": "2026-11-02T05:30:00.123456Z"}
    new = event("new", eventTime="2026-11-02T05:00:00.000001Z", series=seen, lastTimestamp=None)
    del new["count"]
    bare = {"metadata": {"uid": "bare", "creationTimestamp": "2026-11-02T05:00:00Z"}}
    none = {"metadata": {"uid": "none"}}
    early = event("wrong", lastTimestamp="0001-01-01T00:00:00Z")
    peer.answer = Server([new, bare, none, early])
    lake = pointed(kubernetes=f"studio={peer.url}")
    done = pull(lake, reader)
    assert (done.committed, done.reasons) == (2, {"null_required": 1, "bad_timestamp": 1})
    [row] = [row for row in table(lake).to_pylist() if row["uid"] == "new"]
    assert (row["count"], row["timestamp"].microsecond) == (9, 123456)


def test_a_single_namespace_can_be_selected(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    peer.answer = Server([])
    pull(pointed(kubernetes=f"studio={peer.url}"), reader, query="forge")
    assert peer.requests[0].path == "/api/v1/namespaces/forge/events"


@pytest.mark.parametrize(
    "fault",
    [Reply(status=503), Reply(status=429, headers={"Retry-After": "1"}), Reply(b'{"items":[', cut=4)],
    ids=["5xx", "429", "truncated"],
)
def test_a_transient_fault_loses_no_event(peer: Peer, pointed: Pointed, reader: Reader, fault: Reply) -> None:
    peer.answer, peer.script = Server([event("a")]), [fault]
    done = pull(pointed(kubernetes=f"studio={peer.url}"), reader)
    assert (done.committed, len(reader.waits)) == (1, 1)


def test_a_server_that_is_down_slow_forbidding_or_another_kind_fails_the_pull(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    reader.limits = replace(reader.limits, read_s=0.2, tries=2)
    with pytest.raises(PeerError, match="at last: down"):
        pull(pointed(kubernetes=f"studio=http://127.0.0.1:{free_port()}"), reader)
    lake = pointed(kubernetes=f"studio={peer.url}")
    for reply, error, words in (
        (Reply(late_s=9), PeerError, "at last: timeout"),
        (Reply(status=403), SourceError, "FUELLINE_KUBERNETES_TOKEN"),
        (Reply(b"<html>"), PeerError, "not JSON"),
        (Reply(b'{"items":[]}'), PeerError, "another form"),
    ):
        peer.answer = lambda _, reply=reply: reply  # type: ignore[misc]
        with pytest.raises(error, match=words):
            pull(lake, reader)
    assert lake.ledger.entries("sources/kubernetes-studio") == []
