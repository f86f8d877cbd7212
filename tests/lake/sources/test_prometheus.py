"""Metrics out of a real Prometheus that scrapes a real node exporter, and out of one that serves history."""

import csv
import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from errors import PeerError, SettingsError, SourceError, UnknownName
from lake.contracts import contract
from lake.contracts.telemetry import METRICS
from lake.ingest.pipeline import Ingester
from lake.lake import Lake, open_lake
from lake.sources.pull import pull_chunk, pull_window
from lake.sources.selection import Pulled, Selection
from lake.windows import Window
from settings import read_settings
from tests.conftest import free_port
from tests.lake.sources.conftest import Reader
from tests.lake.sources.peer import Peer, Reply, Request, plain, serving
from tests.lake.sources.prometheus import (
    PROTOBUF,
    instant,
    make_history,
    native_histogram,
    node_exporter,
    prometheus,
    until,
)

START = datetime(2026, 11, 2, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEZHA = Path(__file__).parents[4] / "shared" / "data" / "real" / "nezha"
Pointed = Callable[..., Lake]

CLASSIC = """# TYPE waited_seconds histogram
waited_seconds_bucket{{le="0.1"}} {0}
waited_seconds_bucket{{le="1"}} {1}
waited_seconds_bucket{{le="+Inf"}} {2}
waited_seconds_sum {2}
waited_seconds_count {2}
"""


def selection(**changes: object) -> Selection:
    return Selection(data_set="processed.metrics", **({"queries": {"all": "up"}, "settle_s": 0} | changes))  # type: ignore[arg-type]


def table(lake: Lake) -> pa.Table:
    version = lake.tables.current(METRICS)
    assert version
    return lake.tables.read(version).sort_by([(name, "ascending") for name in ("metric", "labels", "timestamp")])


def of(rows: pa.Table, metric: str, **labels: str) -> pa.Table:
    found = rows.filter(pc.equal(rows["metric"], metric))
    keep = [labels.items() <= json.loads(text).items() for text in found["labels"].to_pylist()]
    return found.filter(pa.array(keep, pa.bool_()))


@dataclass
class Live:
    """A Prometheus that has watched a counter being reset, a series ending and two kinds of histograms."""

    url: str
    start: datetime
    end: datetime
    gauge_ended: datetime
    """When the gauge ``job_running`` ended."""


@pytest.fixture(scope="module")
def live(need_binary: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = need_binary("prometheus", "prometheus")
    nodes = need_binary("prometheus-node-exporter", "prometheus-node-exporter")
    text = "# TYPE odd gauge\nodd NaN\n# TYPE endless gauge\nendless +Inf\n" + CLASSIC.format(1, 2, 3)
    state = {"counter": "requests_total 40\n", "gauge": "job_running 1\n"}

    def exposed(request: Request) -> Reply:
        if request.path == "/native":
            return Reply(native_histogram("took_seconds", [2, 3, 1], 7.5), headers={"Content-Type": PROTOBUF})
        body = text + "# TYPE requests_total counter\n" + state["counter"] + state["gauge"]
        return Reply(body.encode(), headers={"Content-Type": "text/plain; version=0.0.4"})

    with serving() as exporter, node_exporter(nodes) as node:
        exporter.answer = exposed
        address = exporter.url.removeprefix("http://")
        jobs = {"node": (node, "/metrics"), "text": (address, "/text"), "native": (address, "/native")}
        with prometheus(server, tmp_path_factory.mktemp("live"), jobs) as url:
            start = datetime.now(UTC).replace(microsecond=0)
            for metric in ("node_cpu_seconds_total", "requests_total > 39", "job_running", "took_seconds"):
                until(functools.partial(instant, url, metric), metric)
            time.sleep(2)
            state |= {"counter": "requests_total 3\n", "gauge": ""}
            until(lambda: instant(url, "requests_total < 5"), "the reset")
            gauge_ended = datetime.now(UTC)
            time.sleep(3)
            yield Live(url=url, start=start, end=datetime.now(UTC).replace(microsecond=0), gauge_ended=gauge_ended)


@pytest.fixture
def pulled(live: Live, pointed: Pointed, reader: Reader) -> tuple[Lake, list[Pulled]]:
    lake = pointed(prometheus=f"studio={live.url}")
    every = selection(queries={"all": '{job=~".+"}'}, step_s=1)
    return lake, pull_chunk(lake, every, Window(start=live.start, end=live.end), connect=reader)


def test_a_node_exporters_metrics_are_in_the_lake_unchanged(live: Live, pulled: tuple[Lake, list[Pulled]]) -> None:
    lake, done = pulled
    assert sum(window.committed for window in done) == sum(window.landed for window in done) > 1000
    rows = table(lake)
    cpu = of(rows, "node_cpu_seconds_total", mode="user", cpu="0")
    at = cpu["timestamp"][-1].as_py()
    [truth] = instant(live.url, f'node_cpu_seconds_total{{mode="user",cpu="0"}} @ {at.timestamp()}')
    assert cpu["value"][-1].as_py() == float(truth["value"][1])
    assert {"__name__": "node_cpu_seconds_total", **json.loads(cpu["labels"][0].as_py())} == truth["metric"]
    assert set(rows["cluster"].to_pylist()) == {"studio"}


def test_a_counter_reset_is_not_smoothed(pulled: tuple[Lake, list[Pulled]]) -> None:
    values = of(table(pulled[0]), "requests_total")["value"].to_pylist()
    assert set(values) == {40.0, 3.0}
    assert values == sorted(values, reverse=True)


def test_a_series_ends_at_its_staleness_marker(live: Live, pulled: tuple[Lake, list[Pulled]]) -> None:
    rows = table(pulled[0])
    ended, going_on = of(rows, "job_running"), of(rows, "requests_total")
    assert ended.num_rows > 1
    assert pc.max(ended["timestamp"]).as_py() <= live.gauge_ended
    assert pc.max(going_on["timestamp"]).as_py() == live.end - timedelta(seconds=1) > live.gauge_ended
    assert 0.0 not in ended["value"].to_pylist(), "nothing is made up after the end"


def test_what_json_cannot_hold_has_a_column_of_its_own(pulled: tuple[Lake, list[Pulled]]) -> None:
    rows = table(pulled[0])
    for metric, text in (("odd", "NaN"), ("endless", "+Inf")):
        found = of(rows, metric)
        assert set(found["not_finite"].to_pylist()) == {text}
        assert found["value"].null_count == found.num_rows > 0


def test_a_classic_histogram_is_its_series(pulled: tuple[Lake, list[Pulled]]) -> None:
    rows = table(pulled[0])
    by_bound = {le: of(rows, "waited_seconds_bucket", le=le)["value"][0].as_py() for le in ("0.1", "1", "+Inf")}
    assert by_bound == {"0.1": 1, "1": 2, "+Inf": 3}
    assert of(rows, "waited_seconds_count")["value"][0].as_py() == 3


def test_a_native_histogram_is_a_row_with_its_buckets(pulled: tuple[Lake, list[Pulled]]) -> None:
    found = of(table(pulled[0]), "took_seconds").to_pylist()
    assert found
    assert {(row["count"], row["sum"], row["value"]) for row in found} == {(6.0, 7.5, None)}
    assert json.loads(found[0]["buckets"]) == [[0, "1", "2", "2"], [0, "2", "4", "3"], [0, "4", "8", "1"]]


def test_a_finished_window_is_requested_once_and_other_chunks_of_it_add_no_duplicates(
    live: Live, pulled: tuple[Lake, list[Pulled]], reader: Reader
) -> None:
    lake, [*_, first] = pulled
    every, window = selection(queries={"all": '{job=~".+"}'}, step_s=1), Window(start=live.start, end=live.end)
    before = table(lake).num_rows
    again = pull_chunk(lake, every, window, connect=reader)
    assert [(window.new, window.committed) for window in again][-1] == (False, first.committed)
    assert reader.clients[-1].requests == 0
    other = replace(window, start=live.start + timedelta(seconds=2))
    [cut] = [window for window in pull_chunk(lake, every, other, connect=reader) if window.new][:1]
    assert cut.duplicates == cut.landed > 0
    assert table(lake).num_rows == before


def test_several_clusters_are_read_separately_and_one_that_is_down_does_not_stop_the_others(
    live: Live, pointed: Pointed, reader: Reader
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    lake = pointed(prometheus=f"attic={dead},forge={live.url},studio={live.url}")
    chosen, window = selection(queries={"up": "up"}, step_s=1), Window(start=live.start, end=live.end)
    with pytest.raises(PeerError, match=r"prometheus 'attic'.*down.*\d+ rows of the other servers"):
        pull_chunk(lake, chosen, window, connect=reader)
    assert set(table(lake)["cluster"].to_pylist()) == {"forge", "studio"}
    pulled = pull_chunk(lake, replace(chosen, clusters=["forge"]), window, connect=reader)
    assert {(done.source, done.new) for done in pulled} == {("prometheus-forge", False)}
    with pytest.raises(UnknownName, match="no cluster named 'fordge'; did you mean 'forge'"):
        pull_chunk(lake, replace(chosen, clusters=["fordge"]), window, connect=reader)


def test_a_refused_query_is_reported_with_the_message(live: Live, pointed: Pointed, reader: Reader) -> None:
    lake = pointed(prometheus=f"studio={live.url}")
    with pytest.raises(SourceError, match=r"refuses /api/v1/query_range \(400\): .*parse error"):
        pull_chunk(lake, selection(queries={"bad": "up{"}), Window(start=START, end=START + HOUR), connect=reader)


def nezha_metrics(pod: str) -> str:
    """A pod's metric file of Nezha as OpenMetrics text."""
    with (NEZHA / f"rca_data_2022-08-22_metric_{pod}_metric.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = [f"cpu_milli {row['CpuUsage(m)']} {row['TimeStamp']}" for row in rows]
    return "\n".join(["# TYPE cpu_milli gauge", *values, "# EOF"]) + "\n"


@pytest.mark.skipif(not NEZHA.is_dir(), reason="the shared test data are not at hand")
def test_history_is_back_filled_and_future_points_are_quarantined(
    need_binary: Callable[[str, str], str], tmp_path: Path, reader: Reader
) -> None:
    binary, promtool = need_binary("prometheus", "prometheus"), need_binary("promtool", "prometheus")
    make_history(promtool, tmp_path / "history", nezha_metrics("cartservice-579f59597d-wc2lz"))
    noon = datetime(2022, 8, 22, 12, tzinfo=UTC)
    with prometheus(binary, tmp_path / "history", {}) as url:
        settings = read_settings(home=tmp_path / "home", lake="test", prometheus=f"studio={url}")
        lake = open_lake(settings, clock=lambda: noon)
        day = Window(start=noon.replace(hour=0), end=noon.replace(hour=0) + timedelta(days=1))
        done = pull_chunk(lake, selection(queries={"cpu": "cpu_milli"}, chunk_minutes=240), day, connect=reader)
    early = [window for window in done if window.start < noon.isoformat()]
    late = [window for window in done if window.start >= noon.isoformat()]
    assert sum(window.committed for window in early) == pytest.approx(8 * 60 + 9, abs=2)
    first_of_noon = late[0].committed
    assert first_of_noon == 1, "noon itself is not in the future"
    assert {reason for window in late for reason in window.reasons} == {"future_timestamp"}
    assert sum(window.quarantined for window in late) == pytest.approx(12 * 60, abs=8)
    assert lake.tables.watermark(METRICS, "prometheus-studio") == noon
    quarantined = lake.tables.current(contract("quarantine.metrics"))
    assert quarantined
    assert quarantined.rows == sum(window.quarantined for window in late)


# Cases that a real server does not produce on demand: the documented answers, from a script.


def matrix(*series: tuple[dict[str, str], list[tuple[float, str]]]) -> Reply:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return plain({"status": "success", "data": {"resultType": "matrix", "result": result}})


def ramp(request: Request) -> Reply:
    """A value at each requested step."""
    start, end, step = (int(request.parameters[name]) for name in ("start", "end", "step"))
    return matrix(({"__name__": "up"}, [(at, str(at % 7)) for at in range(start, end + 1, step)]))


def test_a_long_window_is_requested_in_pieces_at_whole_steps(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    peer.answer = ramp
    lake = pointed(prometheus=f"studio={peer.url}")
    window = Window(start=START + timedelta(seconds=7), end=START + timedelta(hours=2, seconds=7))
    done = pull_chunk(lake, selection(step_s=2, chunk_minutes=24 * 60), window, connect=reader)
    assert sum(window.committed for window in done) == 3600
    spans = [(int(request.parameters["start"]), int(request.parameters["end"])) for request in peer.requests]
    assert all((end - start) // 2 < 1000 for start, end in spans)
    assert all(start % 2 == 0 for start, _ in spans)
    assert [start for start, _ in spans[1:]] == [end + 2 for _, end in spans[:-1]]


def test_a_response_that_is_too_large_is_requested_in_halves(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    peer.answer = ramp
    reader.limits = replace(reader.limits, body_bytes=1500)
    lake = pointed(prometheus=f"studio={peer.url}")
    [done] = pull_chunk(lake, selection(), Window(start=START, end=START + HOUR), connect=reader)
    assert (done.committed, done.duplicates) == (60, 0)
    reader.limits = replace(reader.limits, body_bytes=50)
    with pytest.raises(SourceError, match="request less at once"):
        pull_chunk(lake, selection(), Window(start=START, end=START + 2 * HOUR), connect=reader)


def test_a_scheduled_run_reads_again_for_late_rows_and_counts_only_those(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    known = {START.timestamp() + 60 * minute: "1" for minute in range(120)}
    late_at = START.timestamp() + 60 * 30
    del known[late_at]

    def stored(request: Request) -> Reply:
        first, last = int(request.parameters["start"]), int(request.parameters["end"])
        return matrix(({"__name__": "up"}, [(at, value) for at, value in known.items() if first <= at <= last]))

    peer.answer = stored
    lake, chosen = pointed(prometheus=f"studio={peer.url}"), selection(lateness_minutes=60, settle_s=120)
    first = pull_window(lake, chosen, Window(start=START, end=START + HOUR), connect=reader)
    assert sum(window.committed for window in first) == 57
    known[late_at] = "1"
    second = pull_window(lake, chosen, Window(start=START + HOUR, end=START + 2 * HOUR), connect=reader)
    assert sum(window.committed for window in second) == 61
    assert sum(window.duplicates for window in second) == 57
    assert table(lake).num_rows == 118, "two minutes of the newest hour have not settled"


def test_invalid_values_are_quarantined_and_rows_may_be_in_any_order(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    yesterday, at = START - timedelta(days=1), START.timestamp()
    odd = [(at, "3"), (yesterday.timestamp(), "1"), (at + 60, "three"), (at, "3"), (at + 120, "5"), (at, "4")]
    peer.answer = lambda _: matrix(({"__name__": "up"}, odd))
    lake = pointed(prometheus=f"studio={peer.url}")
    [done] = pull_chunk(lake, selection(), Window(start=START, end=START + HOUR), connect=reader)
    assert (done.committed, done.duplicates) == (3, 1)
    assert done.reasons == {"wrong_type": 1, "series_timestamp_conflict": 1}
    days = {at.date() for at in table(lake)["timestamp"].to_pylist()}
    assert days == {START.date(), yesterday.date()}


@pytest.mark.parametrize(
    "fault",
    [Reply(status=502), Reply(status=429, headers={"Retry-After": "9"}), Reply(b'{"status":"success"}', cut=9)],
    ids=["5xx", "429", "truncated"],
)
def test_a_transient_fault_loses_no_row(peer: Peer, pointed: Pointed, reader: Reader, fault: Reply) -> None:
    peer.answer, peer.script = ramp, [fault]
    lake = pointed(prometheus=f"studio={peer.url}")
    [done] = pull_chunk(lake, selection(), Window(start=START, end=START + HOUR), connect=reader)
    assert (done.committed, sum(done.faults.values()), done.requests, len(reader.waits)) == (60, 1, 2, 1)


@pytest.mark.parametrize("body", [b"<html>", b'{"status":"success","data":{}}', b"[]", b'{"data":{"result":[7]}}'])
def test_a_malformed_response_fails_the_pull_and_marks_nothing_as_done(
    peer: Peer, pointed: Pointed, reader: Reader, body: bytes
) -> None:
    peer.script = [Reply(body)]
    lake, window = pointed(prometheus=f"studio={peer.url}"), Window(start=START, end=START + HOUR)
    with pytest.raises(PeerError, match="prometheus 'studio'"):
        pull_chunk(lake, selection(), window, connect=reader)
    assert lake.ledger.entries("sources/prometheus-studio") == []
    peer.answer = ramp
    [done] = pull_chunk(lake, selection(), window, connect=reader)
    assert (done.new, done.committed) == (True, 60)


def test_a_pull_killed_after_its_commit_commits_its_rows_once(
    peer: Peer, pointed: Pointed, reader: Reader, tmp_path: Path
) -> None:
    peer.answer = ramp
    lake, window = pointed(prometheus=f"studio={peer.url}"), Window(start=START, end=START + HOUR)
    [done] = pull_chunk(lake, selection(), window, connect=reader)
    raw = next(name for name in lake.store.list("raw/metrics/prometheus-studio/") if name.endswith(".jsonl"))
    other = open_lake(read_settings(home=tmp_path / "other", lake="killed", prometheus=f"studio={peer.url}"))
    (tmp_path / "rows.jsonl").write_bytes(lake.store.read(raw))
    Ingester(other, METRICS, "prometheus-studio").ingest_file(tmp_path / "rows.jsonl")
    [again] = pull_chunk(other, selection(), window, connect=reader)
    assert (again.new, again.committed) == (True, done.committed)
    assert table(other).num_rows == table(lake).num_rows == 60


def test_a_pull_killed_after_landing_is_finished_even_if_the_server_answers_differently(
    peer: Peer, pointed: Pointed, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise RuntimeError("power cut")

    peer.answer = ramp
    lake, window = pointed(prometheus=f"studio={peer.url}"), Window(start=START, end=START + HOUR)
    with monkeypatch.context() as patch:
        patch.setattr("lake.ingest.pipeline.Ingester._commit", dies)
        with pytest.raises(RuntimeError, match="power cut"):
            pull_chunk(lake, selection(), window, connect=reader)
    peer.answer = lambda _: matrix()
    pull_chunk(lake, selection(), window, connect=reader)
    assert table(lake).num_rows == 60


def test_the_queries_of_a_window_are_one_commit_without_duplicates(
    peer: Peer, pointed: Pointed, reader: Reader
) -> None:
    peer.answer = ramp
    lake, window = pointed(prometheus=f"studio={peer.url}"), Window(start=START, end=START + HOUR)
    [done] = pull_chunk(lake, selection(queries={"b": "up", "a": "up{}"}), window, connect=reader)
    assert (done.queries, done.committed, done.duplicates) == (["a", "b"], 60, 60)
    assert len(lake.tables.load(METRICS.table).snapshots()) == 1


def test_two_windows_with_the_same_rows_count_them_once(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    peer.answer = lambda _: matrix(({"__name__": "up"}, [(START.timestamp(), "1")]))
    lake = pointed(prometheus=f"studio={peer.url}")
    windows = [Window(start=START, end=START + HOUR), Window(start=START - HOUR, end=START)]
    first, second = [pull_chunk(lake, selection(), window, connect=reader)[0] for window in windows]
    assert (first.committed, first.duplicates) == (1, 0)
    assert (second.landed, second.committed, second.duplicates) == (1, 0, 1)


def test_an_hour_without_points_is_done_and_lands_nothing(peer: Peer, pointed: Pointed, reader: Reader) -> None:
    peer.answer = lambda _: matrix()
    lake, window = pointed(prometheus=f"studio={peer.url}"), Window(start=START, end=START + HOUR)
    [done] = pull_chunk(lake, selection(), window, connect=reader)
    assert (done.landed, done.new) == (0, True)
    assert not pull_chunk(lake, selection(), window, connect=reader)[0].new
    assert list(lake.store.list("raw/")) == []


def test_a_missing_setting_is_named_with_its_reason_and_an_example(lake: Lake) -> None:
    with pytest.raises(SettingsError, match=r"FUELLINE_PROMETHEUS is not set.*Example: FUELLINE_PROMETHEUS=studio="):
        pull_chunk(lake, selection(), Window(start=START, end=START + HOUR))
