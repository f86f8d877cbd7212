"""Log lines out of Loki, by its documented answers over HTTP: pages, ties, faults, and interactions in the lines."""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

import lake.sources.servers.loki
from errors import PeerError, SourceError
from lake.contracts import contract
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.telemetry import LOGS
from lake.lake import Lake, open_lake
from lake.sources.pull import pull_chunk, pull_window
from lake.sources.query import WindowQuery
from lake.sources.selection import Selection
from lake.sources.servers.loki import entries
from lake.windows import Window
from settings import Endpoint, read_settings
from tests.conftest import free_port
from tests.lake.rows import interaction
from tests.lake.sources.conftest import Reader
from tests.lake.sources.loki import Line, Loki, streams
from tests.lake.sources.peer import Peer, Reply, Request, plain, serving

START = datetime(2026, 11, 2, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOW = Window(start=START, end=START + HOUR)
ZERO = int(START.timestamp()) * 10**9
APP = {"app": "agents", "namespace": "forge"}
NEZHA = Path(__file__).parents[4] / "shared" / "data" / "real" / "nezha" / "rca_data_2023-01-29_log_08_52_log.csv.gz"
Pointed = Callable[..., Lake]


def selection(**changes: object) -> Selection:
    usual: dict[str, object] = {"data_set": "processed.logs", "queries": {"all": '{app=~".+"}'}, "settle_s": 0}
    return Selection(**(usual | changes))  # type: ignore[arg-type]


def table(lake: Lake) -> pa.Table:
    version = lake.tables.current(LOGS)
    assert version
    return lake.tables.read(version)


@pytest.fixture
def pages_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake.sources.servers.loki, "PAGE", 4)


def test_lines_have_their_stream_and_their_exact_time(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    line = 'level=warn msg="caf\u00e9 \u2603" \x1b[31mred\x1b[0m\nsecond line'
    peer.answer = Loki([(APP, ZERO + 123_456_789, line), ({"app": "dns"}, ZERO, "")])
    pulled_lake = pointed(loki=f"studio={peer.url}")
    [done] = pull_chunk(pulled_lake, selection(), WINDOW, connect=reader)
    assert (done.source, done.committed) == ("loki-studio", 2)
    first, second = sorted(table(pulled_lake).to_pylist(), key=lambda row: row["nanoseconds"])
    assert (second["nanoseconds"], second["message"]) == (ZERO + 123_456_789, line)
    assert second["timestamp"] == START + timedelta(microseconds=123_456)
    assert json.loads(second["stream"]) == APP
    assert (first["message"], first["query"], first["cluster"]) == ("", "all", "studio")


def test_no_line_is_lost_where_a_page_ends_between_lines_of_one_instant(
    peer: Peer, pointed: Pointed, reader: Reader, pages_of_four: None
) -> None:
    ties = [(APP, ZERO + 5, f"tie {n}") for n in range(3)]
    lines = [(APP, ZERO + n, f"line {n}") for n in range(3)] + ties + [(APP, ZERO + 9, "after")]
    peer.answer = Loki(lines)
    pulled_lake = pointed(loki=f"studio={peer.url}")
    [done] = pull_chunk(pulled_lake, selection(), WINDOW, connect=reader)
    assert (done.committed, done.duplicates) == (7, 0)
    assert sorted(table(pulled_lake)["message"].to_pylist()) == sorted(line for _, _, line in lines)


@effort(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.integers(0, 12), max_size=40))
def test_every_line_is_read_once_however_equal_times_fall_on_pages(times: list[int]) -> None:
    """Up to as many equal times as a page can distinguish."""
    times = [at for number, at in enumerate(times) if times[:number].count(at) < 3]
    lines: list[Line] = [({"app": str(number % 2)}, ZERO + at, f"line {number}") for number, at in enumerate(times)]
    with serving() as peer, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake.sources.servers.loki, "PAGE", 4)
        peer.answer = Loki(lines)
        remote = Reader()(Endpoint(peer="loki", cluster="studio", url=peer.url, token=read_settings().loki_token))
        found = list(entries(WindowQuery(client=remote, name="all", text="{}", window=WINDOW)))
    assert sorted(entry.line for entry in found) == sorted(line for _, _, line in lines)
    assert [entry.nanoseconds for entry in found] == sorted(entry.nanoseconds for entry in found)


def test_more_lines_of_one_instant_than_a_page_holds_fail_the_pull(
    peer: Peer, pointed: Pointed, reader: Reader, pages_of_four: None
) -> None:
    peer.answer = Loki([(APP, ZERO + 5, f"tie {n}") for n in range(5)])
    with pytest.raises(SourceError, match=r"4 entries or more at \d+ ns.*narrow the query"):
        pull_chunk(pointed(loki=f"studio={peer.url}"), selection(), WINDOW, connect=reader)


def test_duplicates_in_any_order_are_committed_once(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    lines: list[Line] = [(APP, ZERO + n % 7, f"line {n % 7}") for n in (3, 1, 4, 1, 5, 9, 2, 6)]
    peer.answer = lambda _: streams(lines)
    pulled_lake = pointed(loki=f"studio={peer.url}")
    [done] = pull_chunk(pulled_lake, selection(), WINDOW, connect=reader)
    assert (done.landed, done.committed, done.duplicates) == (8, 6, 2)


def recorded_responses(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each request, and the body of its response."""
    with io.BufferedReader(pa.CompressedInputStream(str(path), "zstd")) as file:
        while line := file.readline():
            request = json.loads(line)
            yield request, file.read(request["bytes"])
            assert file.read(1) == b"\n"


def test_responses_are_kept_unchanged_unless_they_have_nothing_new(
    peer: Peer, pointed: Pointed, reader: Reader, pages_of_four: None, tmp_path: Path
) -> None:
    served: list[bytes] = []
    loki = Loki([(APP, ZERO + n, f"line {n}") for n in range(9)])

    def answer(request: Request) -> Reply:
        reply = loki(request)
        served.append(reply.body)
        return reply

    peer.answer = answer
    pulled_lake = pointed(loki=f"studio={peer.url}")
    [done] = pull_chunk(pulled_lake, selection(), WINDOW, connect=reader)
    assert done.answers.startswith("raw/logs/loki-studio/")
    pulled_lake.store.download(done.answers, tmp_path / "answers")
    kept = list(recorded_responses(tmp_path / "answers"))
    assert [body for _, body in kept] == served
    assert {(request["path"], request["status"]) for request, _ in kept} == {("/loki/api/v1/query_range", 200)}
    assert dict(kept[0][0]["parameters"])["query"] == '{app=~".+"}'
    [again] = pull_chunk(pulled_lake, selection(queries={"all": '{app=~".*"}'}), WINDOW, connect=reader)
    assert (again.landed, again.answers) == (9, "")
    assert len(list(pulled_lake.store.list("raw/logs/"))) == 2


def test_large_lines_are_requested_in_smaller_pages(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    peer.answer = Loki([(APP, ZERO + n, "x" * 1000) for n in range(40)])
    reader.limits = replace(reader.limits, body_bytes=9000)
    pulled_lake = pointed(loki=f"studio={peer.url}")
    [done] = pull_chunk(pulled_lake, selection(), WINDOW, connect=reader)
    assert done.committed == 40


@pytest.mark.parametrize(
    "fault",
    [Reply(status=500), Reply(status=429, headers={"Retry-After": "3"}), Reply(b'{"data":{"resu', cut=5)],
    ids=["5xx", "429", "truncated"],
)
def test_a_transient_fault_loses_no_line(
    peer: Peer, pointed: Pointed, reader: Reader, pages_of_four: None, fault: Reply
) -> None:
    loki = Loki([(APP, ZERO + n, f"line {n}") for n in range(10)])
    peer.answer, peer.script = loki, [fault]
    [done] = pull_chunk(pointed(loki=f"studio={peer.url}"), selection(), WINDOW, connect=reader)
    assert (done.committed, sum(done.faults.values()), len(reader.waits)) == (10, 1, 1)


@pytest.mark.parametrize(
    "body", [b"oops", b'{"data":{"resultType":"streams","result":[{"stream":{},"values":[["soon","x"]]}]}}', b"{}"]
)
def test_a_malformed_response_marks_nothing_as_done(peer: Peer, pointed: Pointed, reader: Reader, body: bytes) -> None:
    peer.script = [Reply(body)]
    pulled_lake = pointed(loki=f"studio={peer.url}")
    with pytest.raises(PeerError, match="loki 'studio'"):
        pull_chunk(pulled_lake, selection(), WINDOW, connect=reader)
    peer.answer = Loki([(APP, ZERO, "there")])
    assert pull_chunk(pulled_lake, selection(), WINDOW, connect=reader)[0].committed == 1


def test_a_loki_that_is_down_or_slow_fails_the_run_and_nothing_else(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    peer.answer = lambda _: Reply(late_s=20)
    reader.limits = replace(reader.limits, read_s=0.2, tries=2)
    for address, kind in ((peer.url, "timeout"), (f"http://127.0.0.1:{free_port()}", "down")):
        pulled_lake = pointed(loki=f"studio={address}")
        with pytest.raises(PeerError, match=f"failed 2 times, at last: {kind}"):
            pull_chunk(pulled_lake, selection(), WINDOW, connect=reader)
        assert pulled_lake.tables.current(LOGS) is None


def test_a_query_that_aggregates_is_refused(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    peer.script = [plain({"status": "success", "data": {"resultType": "matrix", "result": []}})]
    with pytest.raises(SourceError, match="returns matrix, not log lines"):
        pull_chunk(pointed(loki=f"studio={peer.url}"), selection(), WINDOW, connect=reader)


def test_interactions_are_read_out_of_log_lines(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    good = [interaction(number) for number in range(6)]
    at = int(datetime.fromisoformat(good[0]["timestamp"]).timestamp()) * 10**9
    texts = [
        json.dumps(good[0]),
        f"2026-10-01T00:01:00Z INFO  interaction {json.dumps(good[1], ensure_ascii=False)}",
        json.dumps(good[2], indent=1),
        json.dumps(interaction(3, latency_ms=99_000)),
        "no interaction at all",
        json.dumps(good[4])[:-20],
        "",
        json.dumps(good[0]),
    ]
    peer.answer = Loki([(APP, at + number, text) for number, text in enumerate(texts)])
    pulled_lake = pointed(loki=f"forge={peer.url}")
    chosen = selection(data_set="processed.agent_interactions", queries={"interactions": '{app="agents"}'})
    day = datetime.fromtimestamp(at // 10**9, UTC)
    [done] = pull_chunk(pulled_lake, chosen, Window(start=day, end=day + HOUR), connect=reader)
    assert (done.landed, done.committed, done.duplicates) == (8, 3, 1)
    assert done.reasons == {"malformed_json": 3, "latency_out_of_range": 1}
    version = pulled_lake.tables.current(AGENT_INTERACTIONS)
    assert version
    assert set(pulled_lake.tables.read(version)["interaction_id"].to_pylist()) == {
        row["interaction_id"] for row in good[:3]
    }


# Wrong clocks.


def nezha() -> list[Line]:
    with gzip.open(NEZHA, "rt") as file:
        return [({"pod": row["PodName"]}, int(row["TimeUnixNano"]), row["Log"]) for row in csv.DictReader(file)]


@pytest.mark.skipif(not NEZHA.exists(), reason="the shared test data are not at hand")
def test_real_logs_out_of_order_are_complete_and_each_on_its_own_day(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    real = nezha()
    assert sum(now[1] < before[1] for before, now in itertools.pairwise(real)) > len(real) // 3
    midnight = (max(at for _, at, _ in real) + min(at for _, at, _ in real)) // 2
    shift = midnight - midnight // (86_400 * 10**9) * (86_400 * 10**9)
    lines = [(stream, at - shift, line) for stream, at, line in real]
    pulled_lake = pointed(loki=f"studio={peer.url}")
    peer.answer = lambda _: streams(lines[:4000])  # in the order of the file, not of their times
    day = datetime.fromtimestamp((midnight - shift) // 10**9, UTC) - timedelta(days=1)
    [done] = pull_chunk(
        pulled_lake, selection(chunk_minutes=10_000_000), Window(start=day, end=day + 48 * HOUR), connect=reader
    )
    assert done.committed + done.duplicates == 4000
    assert done.quarantined == 0
    days: dict[str, int] = {}
    for file in pulled_lake.tables.load(LOGS.table).inspect.files().to_pylist():
        bounds = file["readable_metrics"]["timestamp"]
        assert bounds["lower_bound"].date() == bounds["upper_bound"].date(), "a file lies in one day"
        days[str(bounds["lower_bound"].date())] = days.get(str(bounds["lower_bound"].date()), 0) + file["record_count"]
    by_their_time = [datetime.fromtimestamp(at / 10**9, UTC).date() for _, at, _ in set_of(lines[:4000])]
    assert days == {str(day): by_their_time.count(day) for day in set(by_their_time)}
    assert len(days) == 2


def set_of(lines: list[Line]) -> list[Line]:
    return list({(json.dumps(stream), at, line): (stream, at, line) for stream, at, line in lines}.values())


def test_late_lines_are_read_by_the_next_run(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    loki = Loki([(APP, ZERO + minute * 60 * 10**9, f"minute {minute}") for minute in range(120) if minute != 20])
    peer.answer = loki
    pulled_lake, chosen = pointed(loki=f"studio={peer.url}"), selection(lateness_minutes=60)
    pull_window(pulled_lake, chosen, WINDOW, connect=reader)
    loki.lines.append((APP, ZERO + 20 * 60 * 10**9, "minute 20"))
    second = pull_window(pulled_lake, chosen, Window(start=WINDOW.end, end=WINDOW.end + HOUR), connect=reader)
    assert sum(window.committed for window in second) == 61
    assert table(pulled_lake).num_rows == 120
    watermark = pulled_lake.tables.watermark(LOGS, "loki-studio")
    assert watermark == START + timedelta(minutes=119)
    loki.lines.append((APP, ZERO + 1, "at last"))
    pull_chunk(pulled_lake, selection(), Window(start=START, end=START + HOUR / 2), connect=reader)
    assert pulled_lake.tables.watermark(LOGS, "loki-studio") == watermark, "what comes late does not take it back"


def test_lines_from_the_future_are_quarantined_with_the_reason(peer: Peer, tmp_path: Path, reader: Reader) -> None:
    ahead = [(APP, ZERO + hours * 3600 * 10**9, f"in {hours} h") for hours in (-1, 0, 1, 24 * 365)]
    peer.answer = lambda _: streams(ahead)
    places = read_settings(home=tmp_path / "home", lake="test", loki=f"studio={peer.url}")
    pulled_lake = open_lake(places, clock=lambda: START + timedelta(minutes=1))
    [done] = pull_chunk(pulled_lake, selection(), Window(start=START - HOUR, end=START), connect=reader)
    assert (done.committed, done.reasons) == (2, {"future_timestamp": 2})
    assert done.watermark == START.isoformat()
    kept = pulled_lake.tables.current(contract("quarantine.logs"))
    assert kept
    assert set(pulled_lake.tables.read(kept)["column"].to_pylist()) == {"timestamp"}
