"""Ingestion: every line ends up committed, quarantined with its reason, or counted as a duplicate, and only once."""

import csv
import gzip
import io
import json
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from errors import SourceError
from lake.contracts import contract
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.ingest import files
from lake.ingest.blocks import Fault
from lake.ingest.parse import PARSER_VERSION
from lake.ingest.pipeline import Ingested, Ingester
from lake.lake import Lake, open_lake
from settings import Settings, read_settings
from tests.lake.processes import at_once
from tests.lake.rows import interaction, lines

QUARANTINE = contract("quarantine.agent_interactions")
DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"NOT RUN: the test data are not at {DATA}")


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def committed(lake: Lake) -> list[dict[str, Any]]:
    version = lake.tables.current(CONTRACT)
    rows = lake.tables.read(version).to_pylist() if version else []
    return sorted(rows, key=lambda row: row["interaction_id"])


def quarantined(lake: Lake) -> dict[int, str]:
    """Reason by line; fails if a line occurs twice."""
    version = lake.tables.current(QUARANTINE)
    rows = lake.tables.read(version).to_pylist() if version else []
    reasons = {row["line"]: row["reason"] for row in rows}
    assert len(reasons) == len(rows)
    return reasons


def ingest(lake: Lake, path: Path) -> Ingested:
    return Ingester(lake, CONTRACT, "agents").ingest_file(path)


def state(lake: Lake) -> Any:
    """The state that a second run must not change."""
    tables = [lake.tables.snapshots(contract) for contract in (CONTRACT, QUARANTINE)]
    return [[s.snapshot_id for s in snapshots] for snapshots in tables], list(lake.store.list(""))


@needs_data
def test_the_real_interactions_are_ingested_with_the_known_counts(lake: Lake) -> None:
    done = Ingester(lake, CONTRACT, "agents").ingest_folder(DATA / "interactions/raw/agents")
    assert sum(result.landed for result in done) == 11_873
    assert sum(result.committed for result in done) == len(committed(lake)) == 11_798
    assert sum(result.duplicates for result in done) == 0
    assert sum((Counter(result.reasons) for result in done), Counter()) == {"latency_out_of_range": 75}
    failed = [row for row in committed(lake) if row["error"]]
    assert len(failed) == 80
    assert lake.tables.watermark(CONTRACT, "agents") == max(row["timestamp"] for row in committed(lake))
    before = state(lake)
    again = Ingester(lake, CONTRACT, "agents").ingest_folder(DATA / "interactions/raw/agents")
    assert not any(result.new for result in again)
    assert state(lake) == before


@needs_data
def test_every_damaged_line_has_the_expected_reason(lake: Lake) -> None:
    expected = json.loads((DATA / "dirty/expected.json").read_text())
    done = ingest(lake, DATA / "dirty/interactions.jsonl.gz")
    reasons = {int(line): reason for line, reason in expected["by_line"].items()}
    assert (done.landed, done.committed) == (788, 616)
    assert quarantined(lake) == {line: reason for line, reason in reasons.items() if reason != "duplicate"}
    assert done.duplicates == expected["by_reason"]["duplicate"]


def test_a_second_run_and_a_copy_of_the_file_change_nothing(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    data = lines([interaction(0), interaction(1), interaction(2, latency_ms=5)])
    first = ingest(lake, put(tmp_path, "a/log.jsonl", data))
    before = state(lake)
    for name in ("a/log.jsonl", "b/copy.jsonl"):
        again = ingest(open_lake(settings), put(tmp_path, name, data))
        assert not again.new
        assert again.reasons == first.reasons == {"latency_out_of_range": 1}
    assert state(lake) == before


ROTATED = [
    "a.log.1",
    "a.log.2.gz",
    "a.log.2026-11-26",
    "a.log-20261126",
    "a.LOG-20261126.GZ",
    "a.log.2026-11-26_14-05",
    "a.json",
    "a.jsonl.3",
    "a.json.20261126-101010.gz",
]


@pytest.mark.parametrize("name", ROTATED)
def test_a_rotated_log_is_read_whatever_its_suffix(lake: Lake, tmp_path: Path, name: str) -> None:
    data = lines([interaction(0), interaction(1)])
    put(tmp_path / "logs", name, gzip.compress(data) if name.lower().endswith(".gz") else data)
    [done] = Ingester(lake, CONTRACT, "agents").ingest_folder(tmp_path / "logs")
    assert (done.landed, done.committed) == (2, 2)


def test_a_log_that_is_rotated_and_compressed_adds_only_new_rows(lake: Lake, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    live = put(logs, "a.log", lines([interaction(0), interaction(1)]))
    Ingester(lake, CONTRACT, "agents").ingest_folder(logs)
    live.rename(logs / "a.log.1")
    put(logs, "a.log", lines([interaction(2)]))
    assert [result.new for result in Ingester(lake, CONTRACT, "agents").ingest_folder(logs)] == [True, False]
    put(logs, "a.log.2.gz", gzip.compress((logs / "a.log.1").read_bytes() + lines([interaction(3)])))
    (logs / "a.log.1").unlink()
    _, packed = Ingester(lake, CONTRACT, "agents").ingest_folder(logs)
    assert (packed.committed, packed.duplicates) == (1, 2)
    assert [row["interaction_id"] for row in committed(lake)] == [f"i{number:06}" for number in range(4)]


def test_files_that_are_not_logs_are_skipped_and_logged(
    lake: Lake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = tmp_path / "logs"
    for name in ("README.txt", "old/a.log.bak", "old/b.log.zst", "z.tmp"):
        put(logs, name, b"no log")
    with pytest.raises(SourceError, match=r"holds no logs \(.*\.json,.*rotated"):
        Ingester(lake, CONTRACT, "agents").ingest_folder(logs)
    put(logs, "a.log", lines([interaction(0)]))
    assert len(Ingester(lake, CONTRACT, "agents").ingest_folder(logs)) == 1
    assert "skipped 4 files" in caplog.text
    assert "README.txt, old/a.log.bak, old/b.log.zst, ..." in caplog.text
    assert "z.tmp" not in caplog.text


def test_a_json_document_over_many_lines_is_not_a_log(
    lake: Lake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = tmp_path / "logs"
    put(logs, "a.json", lines([interaction(0), interaction(1)]))
    put(logs, "package.json", json.dumps({"name": "x", "scripts": {}}, indent=1).encode())
    put(logs, "broken.json.gz", b"no gzip")
    [done] = Ingester(lake, CONTRACT, "agents").ingest_folder(logs)
    assert (done.landed, done.committed) == (2, 2)
    assert "skipped 2 files" in caplog.text


def test_an_object_that_cannot_be_finished_blocks_no_other_and_fails_each_run(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Ingester._commit

    def too_large(*arguments: Any) -> Any:
        if any(isinstance(value, Path) and b"i000000" in value.read_bytes() for value in arguments):
            raise MemoryError
        return commit(*arguments)

    monkeypatch.setattr(Ingester, "_commit", too_large)
    logs = tmp_path / "logs"
    bad = put(logs, "a.jsonl", lines([interaction(0)]))
    with pytest.raises(MemoryError):
        Ingester(lake, CONTRACT, "agents").ingest_folder(logs)
    bad.unlink()
    put(logs, "b.jsonl", lines([interaction(1)]))
    with pytest.raises(MemoryError):
        Ingester(lake, CONTRACT, "agents").ingest_folder(logs)
    assert [row["interaction_id"] for row in committed(lake)] == ["i000001"]
    monkeypatch.undo()
    Ingester(lake, CONTRACT, "agents").ingest_folder(logs)
    assert len(committed(lake)) == 2


def test_a_new_release_of_the_code_ingests_nothing_again(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "log.jsonl", lines([interaction(0)]))
    ingest(lake, path)
    [key] = [entry.key for entry in lake.ledger.entries("sources/agents", kind="ingested")]
    assert key == f"ingest:processed.agent_interactions:v1.0:parser{PARSER_VERSION}:{key.split(':')[-1]}"
    monkeypatch.setattr("importlib.metadata.version", lambda _: "99.0")
    monkeypatch.setenv("GIT_SHA", "another")
    assert not ingest(lake, path).new


def test_a_line_that_two_parser_versions_reject_is_in_quarantine_once(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "log.jsonl", lines([interaction(0), interaction(1, latency_ms=5)]))
    ingest(lake, path)
    monkeypatch.setattr("lake.ingest.pipeline.PARSER_VERSION", PARSER_VERSION + 1)
    again = ingest(lake, path)
    assert (again.new, again.quarantined, again.duplicates) == (True, 1, 1)
    assert quarantined(lake) == {2: "latency_out_of_range"}


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def as_typed_parquet(rows: list[dict[str, Any]]) -> bytes:
    """As pandas writes it: real instants, and doubles where a number is missing."""
    out = io.BytesIO()
    typed = [{**row, "timestamp": datetime.fromisoformat(row["timestamp"])} for row in rows]
    table = pa.Table.from_pylist(typed)
    at = table.schema.get_field_index("feedback")
    pa.parquet.write_table(table.set_column(at, "feedback", table["feedback"].cast(pa.float64())), out)
    return out.getvalue()


FORMATS = {".jsonl": lines, ".csv": as_csv, ".parquet": as_parquet, ".PARQUET": as_typed_parquet}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_same_rows_and_reasons(
    suffix: str, packed: bool, tmp_path: Path, settings: Settings
) -> None:
    rows = [interaction(n) for n in range(30)]
    rows[3]["user_query"] = 'two\nlines, a comma, a "quote" and \U0001f600'
    rows[5] |= {"latency_ms": 31_000}
    rows[6] |= {"agent_name": "ghost"}
    rows[8] |= {"error": True, "latency_ms": 0, "tokens_used": 0}
    rows[9]["interaction_id"] = rows[1]["interaction_id"]
    data = FORMATS[suffix](rows)
    path = put(tmp_path, f"log{suffix}" + (".gz" if packed else ""), gzip.compress(data) if packed else data)
    lake = open_lake(settings)
    done = ingest(lake, path)
    header = suffix == ".csv"
    assert quarantined(lake) == {
        6 + header: "latency_out_of_range",
        7 + header: "unknown_agent",
        10 + header: "interaction_id_conflict",
    }
    reference = open_lake(settings.model_copy(update={"lake": "reference"}))
    ingest(reference, put(tmp_path, "reference.jsonl", lines(rows)))
    assert committed(lake) == committed(reference)
    assert done.committed == 27


def test_whole_and_missing_numbers_in_a_csv_of_pandas_become_integers_and_nulls(lake: Lake, tmp_path: Path) -> None:
    frame = pd.DataFrame([interaction(n) for n in range(9)])
    assert frame["feedback"].dtype == "float64"
    for name, missing in {"1.csv": "", "2.csv": "NaN", "3.csv": "NULL"}.items():
        done = ingest(lake, put(tmp_path, name, frame.to_csv(index=False, na_rep=missing).encode()))
        assert (done.quarantined, done.landed) == (0, 9)
    assert [row["feedback"] for row in committed(lake)] == [0, 1, None] * 3


def test_a_fraction_or_missing_number_in_a_csv_is_rejected_in_a_required_integer_column(
    lake: Lake, tmp_path: Path
) -> None:
    rows = [interaction(0, feedback="0.5"), interaction(1, latency_ms="NaN"), interaction(2, tokens_used="None")]
    rows += [interaction(3, tokens_used="9007199254740994.0"), interaction(4, user_query="NaN", feedback="no")]
    rows += [interaction(5, user_query="NaN", feedback="<NA>", latency_ms="2e2")]
    ingest(lake, put(tmp_path, "log.csv", as_csv(rows)))
    assert quarantined(lake) == {
        2: "wrong_type",
        3: "not_a_number",
        4: "wrong_type",
        5: "wrong_type",
        6: "wrong_type",
    }
    [row] = committed(lake)
    assert (row["user_query"], row["feedback"], row["latency_ms"]) == ("NaN", None, 200)


GOOD = [interaction(n) for n in range(6)]


def spoilt(at: int, line: bytes) -> bytes:
    good = lines(GOOD).splitlines(keepends=True)
    return b"".join([*good[:at], line, *good[at:]])


BOMB = b'{"user_query": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"


@pytest.mark.parametrize(
    ("name", "data", "reasons"),
    [
        ("log.jsonl", b"", {}),
        ("log.jsonl", b"\n\r\n  \n", {}),
        ("log.jsonl.gz", b"", {}),
        ("log.csv", b"", {}),
        ("log.csv", b"\r\n", {}),
        ("log.parquet", b"", {1: "unreadable_file"}),
        ("log.parquet", b"PAR1 no parquet", {1: "unreadable_file"}),
        ("log.jsonl.gz", b"no gzip", {1: "truncated_file"}),
        ("log.jsonl", lines(GOOD)[:-1], {}),
        ("log.jsonl", b"\xef\xbb\xbf" + lines(GOOD), {}),
        ("log.jsonl", lines(GOOD).replace(b"\n", b"\r\n"), {}),
        ("log.jsonl", lines(GOOD).replace(b"\n", b"\n\n"), {}),
        ("log.jsonl", spoilt(3, b"\xff\xfe\n"), {4: "invalid_utf8"}),
        ("log.jsonl", spoilt(3, lines([interaction(9)]).replace(b"question", b"\xc3\x28")), {4: "invalid_utf8"}),
        ("log.jsonl", spoilt(3, BOMB), {4: "missing_column"}),
        ("log.jsonl", spoilt(3, b"[" * 300_000 + b"\n"), {4: "malformed_json"}),
        ("log.jsonl", spoilt(3, b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n"), {4: "missing_column"}),
        ("log.jsonl", spoilt(3, b"\x00\x00\n"), {4: "malformed_json"}),
        ("log.jsonl", spoilt(0, lines(GOOD[:1])[:-2] + b",}\n"), {1: "malformed_json"}),
        ("log.jsonl", spoilt(6, lines([interaction(9)])[:-1] + lines([interaction(10)])), {7: "malformed_json"}),
        ("log.jsonl", spoilt(2, lines([interaction(9)])[:50] + b"\n"), {3: "malformed_json"}),
        ("log.jsonl", spoilt(2, lines([interaction(9, timestamp="0001-01-01T00:00:00Z")])), {3: "bad_timestamp"}),
        ("log.jsonl", spoilt(2, lines([interaction(9, timestamp="infinity")])), {3: "bad_timestamp"}),
        ("log.jsonl", spoilt(2, lines([interaction(9, timestamp="2026-10-01 00:09:00")])), {3: "bad_timestamp"}),
        ("log.jsonl", spoilt(2, lines([interaction(9, timestamp="9999-12-31T23:59:59Z")])), {3: "future_timestamp"}),
        ("log.jsonl", spoilt(2, lines([interaction(9, latency_ms=10**400)])), {3: "not_a_number"}),
        ("log.jsonl", spoilt(2, lines([interaction(9, latency_ms=10**18)])), {3: "latency_out_of_range"}),
        ("log.jsonl", spoilt(2, lines([interaction(0, response="another")])), {}),
        ("log.csv", as_csv(GOOD) + b"too,few\r\n", {8: "malformed_csv"}),
        ("log.csv", as_csv(GOOD).replace(b"question 3", b"\xff\xff"), {5: "invalid_utf8"}),
        ("log.csv", as_csv(GOOD).replace(b"question 3", b""), {}),
        ("log.csv", as_csv([{"a": 1, "b": 2}]), {2: "missing_column"}),
    ],
)
def test_a_bad_file_or_line_has_a_clear_reason_and_the_good_rows_are_committed(
    lake: Lake, tmp_path: Path, name: str, data: bytes, reasons: dict[int, str]
) -> None:
    done = ingest(lake, put(tmp_path, name, data))
    found = quarantined(lake)
    extra = {line: reason for line, reason in found.items() if line not in reasons}
    assert found == {**reasons, **extra}
    assert set(extra.values()) <= {"interaction_id_conflict"}
    expected = [row["interaction_id"] for row in GOOD] if b"i000005" in data else []
    if reasons.get(5) == "invalid_utf8":
        expected.remove("i000003")
    assert [row["interaction_id"] for row in committed(lake)] == expected
    assert done.landed == done.committed + len(found) + done.duplicates


def test_rows_before_the_end_of_a_truncated_gzip_are_committed(lake: Lake, tmp_path: Path) -> None:
    rows = [interaction(n) for n in range(3_000)]
    packed = gzip.compress(lines(rows))
    done = ingest(lake, put(tmp_path, "log.jsonl.gz", packed[: len(packed) * 2 // 3]))
    assert done.reasons.pop("truncated_file") == 1
    assert sum(done.reasons.values()) <= 1  # the line that broke
    assert done.committed > 1_500
    assert len(quarantined(lake)) == done.quarantined


@pytest.mark.parametrize("longest", [400, 3_000])
def test_blocks_and_slabs_may_end_anywhere(
    lake: Lake, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    rows = [interaction(n) for n in range(200)]
    rows[150] = rows[20]
    rows[160] = interaction(160, interaction_id=rows[30]["interaction_id"])
    rows[170] = interaction(170, timestamp=rows[42]["timestamp"])
    rows[170]["agent_name"] = rows[42]["agent_name"]
    rows[180] = interaction(180, interaction_id=rows[170]["interaction_id"])
    rows[199] = interaction(199, latency_ms=1)
    path = put(tmp_path, "log.jsonl", lines(rows))
    whole = ingest(lake, path)
    monkeypatch.setattr("lake.ingest.files.BLOCK_BYTES", longest)
    monkeypatch.setattr("lake.ingest.classify.SLAB_BYTES", 3 * longest)
    sliced = open_lake(settings.model_copy(update={"lake": "sliced"}))
    done = ingest(sliced, path)
    assert (done.committed, done.duplicates, done.reasons) == (whole.committed, whole.duplicates, whole.reasons)
    assert whole.reasons == {
        "interaction_id_conflict": 1,
        "latency_out_of_range": 1,
        "timestamp_agent_conflict": 1,
    }
    assert committed(sliced) == committed(lake)
    assert quarantined(sliced) == quarantined(lake)


def test_an_oversized_line_is_found_wherever_the_reads_fall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINE_BYTES_MAX", 50)
    for block in range(1, 51):
        monkeypatch.setattr(files, "BLOCK_BYTES", block)
        path = put(
            tmp_path, "log.jsonl", b"\xef\xbb\xbfa" + b"x" * 49 + b"\nshort\n" + b"y" * 51 + b"\n\nz\n" + b"w" * 60
        )
        found: dict[int, bytes] = {}
        for piece in files.read_blocks(path, CONTRACT):
            if isinstance(piece, Fault):
                assert piece.line not in found
                found[piece.line] = piece.reason.encode()
            else:
                found |= dict(enumerate(piece.data.removesuffix(b"\n").split(b"\n"), start=piece.first))
        assert found[2] == b"short"
        assert found[3] == found[6] == b"oversized_line"
        assert found[5] == b"z"


HUGE_LINE = """
import re, sys
from pathlib import Path
from lake.ingest.pipeline import Ingester
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import open_lake
done = Ingester(open_lake(), AGENT_INTERACTIONS, "agents").ingest_file(Path(sys.argv[1]))
# Of this program alone: ru_maxrss would count what the parent held before the exec, too.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
assert done.committed == 6 and done.reasons == {"oversized_line": 1}, done
assert peak < 700, peak
"""


def test_a_line_of_100_mb_needs_no_memory_and_loses_no_other_row(tmp_path: Path) -> None:
    good = lines(GOOD).splitlines(keepends=True)
    with (tmp_path / "log.jsonl").open("wb") as log:
        log.writelines(good[:3])
        log.write(b'{"interaction_id": "')
        for _ in range(100):
            log.write(b"x" * (1 << 20))
        log.write(b'"}\n')
        log.writelines(good[3:])
    home = {"FUELLINE_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", HUGE_LINE, str(tmp_path / "log.jsonl")], check=True, env=home)


def test_the_same_id_with_different_content_is_a_conflict(lake: Lake, tmp_path: Path) -> None:
    ingest(lake, put(tmp_path, "1.jsonl", lines([interaction(0), interaction(1)])))
    changed = [interaction(0), interaction(1, response="another"), interaction(2), interaction(2, feedback=0)]
    done = ingest(lake, put(tmp_path, "2.jsonl", lines(changed)))
    assert (done.committed, done.duplicates) == (1, 1)
    assert quarantined(lake) == {2: "interaction_id_conflict", 4: "interaction_id_conflict"}


def test_quarantine_keeps_the_readable_values_and_a_bounded_part_of_the_line(lake: Lake, tmp_path: Path) -> None:
    rows = [
        interaction(0, error=True, tokens_used="many"),
        interaction(1, agent_name="x" * 5_000),
        interaction(2, user_query="y" * 100_001),
        interaction(3, timestamp="soon"),
    ]
    ingest(lake, put(tmp_path, "log.jsonl", lines(rows)))
    version = lake.tables.current(QUARANTINE)
    assert version
    found = {row["line"]: row for row in lake.tables.read(version).to_pylist()}
    assert [found[n]["reason"] for n in (1, 2, 3, 4)] == [
        "wrong_type",
        "unknown_agent",
        "oversized_text",
        "bad_timestamp",
    ]
    assert [found[n]["column"] for n in (1, 2, 3, 4)] == ["tokens_used", "agent_name", "user_query", "timestamp"]
    assert [found[n]["agent_name"] for n in (1, 2, 3, 4)] == ["bruno", None, "jamie", "mary-kay"]
    assert [found[n]["error"] for n in (1, 2, 3, 4)] == [True, False, False, False]
    assert found[4]["timestamp"] is None
    assert all(len(row["raw"]) <= 2_000 for row in found.values())
    assert {row["source_object"] for row in found.values()} == {
        entry.payload["object"] for entry in lake.ledger.entries("sources/agents", kind="ingested")
    }


def test_the_raw_zone_holds_the_bytes_unchanged(lake: Lake, tmp_path: Path) -> None:
    data = spoilt(3, b"\xff\n")
    done = ingest(lake, put(tmp_path, "log.jsonl", data))
    assert lake.store.read(done.object) == data


def test_a_file_that_cannot_be_read_is_an_error_and_leaves_no_trace(lake: Lake, tmp_path: Path) -> None:
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(SourceError, match=str(missing)):
            Ingester(lake, CONTRACT, "agents").ingest_folder(missing)
    with pytest.raises(SourceError, match=r"log\.txt"):
        Ingester(lake, CONTRACT, "agents").ingest_folder(put(tmp_path, "log.txt", b"{}"))
    assert lake.ledger.chains() == []


def ingest_all(settings: Settings, folder: Path) -> list[tuple[str, int, int, int]]:
    done = Ingester(open_lake(settings), CONTRACT, "agents").ingest_folder(folder)
    return [(result.sha256, result.committed, result.quarantined, result.duplicates) for result in done]


@pytest.mark.parametrize("fixture", ["settings", "s3_settings"])
def test_four_concurrent_processes_ingest_every_row_once(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings = request.getfixturevalue(fixture)
    for number in range(4):  # each has a file of its own, whose rows overlap with the others, and one that all have
        own = [interaction(n) for n in range(20 * number, 20 * number + 40)] + [interaction(500 + number, latency_ms=1)]
        put(tmp_path, f"{number}/own.jsonl", lines(own))
        put(tmp_path, f"{number}/shared.jsonl", lines([interaction(900), interaction(901, agent_name="ghost")]))
    found = at_once(ingest_all, [(settings, tmp_path / str(number)) for number in range(4)])
    lake = open_lake(settings)
    assert [row["interaction_id"] for row in committed(lake)] == [f"i{n:06d}" for n in [*range(100), 900]]
    version = lake.tables.current(QUARANTINE)
    assert version
    assert Counter(lake.tables.read(version)["reason"].to_pylist()) == {"latency_out_of_range": 4, "unknown_agent": 1}
    by_file = {sha: counts for results in found for sha, *counts in results}
    assert len(by_file) == 5
    assert [sum(counts) for counts in zip(*by_file.values(), strict=True)] == [101, 5, 60]
    assert lake.ledger.verify("sources/agents") == 10
    assert not list(lake.store.list("staged/"))


LINE = st.sampled_from(["good", "again", "conflict", "same moment", "slow", "ghost", "broken", "blank"])


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.lists(LINE, max_size=12), min_size=1, max_size=3), slab=st.sampled_from([500, 1 << 20]))
def test_landed_is_the_sum_of_committed_quarantined_and_duplicates(
    kinds: list[list[str]], slab: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lake.ingest.classify.SLAB_BYTES", slab)
    monkeypatch.setattr("lake.ingest.files.BLOCK_BYTES", slab)
    folder = tmp_path_factory.mktemp("mixture")
    lake = open_lake(read_settings(home=folder / "home", lake="test"))
    number, good, expected = 0, [interaction(9_999)], Counter[str]()
    for at, kind in enumerate(kinds):
        data = b""
        for line in kind:
            number += 1
            new = interaction(number)
            match line:
                case "good":
                    good.append(new)
                    data += lines([new])
                case "again":
                    data += lines([good[-1]])
                case "conflict":
                    data += lines([{**good[-1], "response": f"other {number}"}])
                case "same moment":
                    data += lines([{**good[-1], "interaction_id": new["interaction_id"]}])
                case "slow":
                    data += lines([{**new, "latency_ms": 30_001}])
                case "ghost":
                    data += lines([{**new, "agent_name": "ghost"}])
                case "broken":
                    data += b"{\n"
                case _:
                    data += b" \n"
        done = ingest(lake, put(folder, f"{at}.jsonl", data))
        assert done.landed == sum(line != "blank" for line in kind) or not done.new
        expected.update({"landed": done.landed * done.new, "committed": done.committed * done.new})
    rows = committed(lake)
    assert len({row["interaction_id"] for row in rows}) == len(rows) == expected["committed"]
    assert len({(row["timestamp"], row["agent_name"]) for row in rows}) == len(rows)
