"""Scheduled workflows as the scheduler starts them: late, twice, on an empty lake, in sequence."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import tasks.runtime
from features.batch.schedule import keep_up
from features.definitions.views import AGENT_FEATURES as AGENTS
from lake.contracts.features import AGENT_FEATURES
from lake.contracts.telemetry import METRICS
from lake.lake import Lake, open_lake
from lake.sample.generate import FIRST_DAY, write_sample
from lake.sources.inbox import put
from settings import settings
from tests.features import clusters
from tests.lake.rows import interaction, lines

NOW = FIRST_DAY + timedelta(days=3, hours=2, minutes=31)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def task_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A fresh lake with a clock at three days into the sample; tasks that run in this process open it."""
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUELLINE_LOGS", str(tmp_path / "logs"))
    monkeypatch.setenv("FLYTE_LOCAL_CACHE_ENABLED", "false")
    settings.cache_clear()
    monkeypatch.setattr(tasks.runtime, "open_lake", lambda: open_lake(clock=lambda: NOW))
    yield open_lake(clock=lambda: NOW)
    settings.cache_clear()


@pytest.fixture
def another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each execution has its own name, as on a cluster."""
    names = iter(range(10_000))
    monkeypatch.setattr(tasks.runtime, "_local_run", lambda: f"run-{next(names)}")


def test_the_first_of_many_late_ingestions_reads_the_logs_and_the_others_do_nothing(
    task_lake: Lake, another_run: None, tmp_path: Path
) -> None:
    from workflows.ingestion import scheduled_ingestion

    write_sample(tmp_path / "logs" / "agents", days=3)
    late = [NOW.replace(minute=5) - number * HOUR for number in (3, 0, 2, 1)]
    results = [scheduled_ingestion(kickoff=kickoff) for kickoff in late]
    assert results[0][0].new_objects == 3
    assert results[1:] == [[], [], []]
    [done] = task_lake.ledger.entries("schedules/ingest_hourly")
    assert done.payload["end"] == NOW.replace(minute=5).isoformat()


def test_without_the_setting_for_logs_an_ingestion_fails_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from workflows.ingestion import scheduled_ingestion

    monkeypatch.delenv("FUELLINE_LOGS")
    settings.cache_clear()
    with pytest.raises(Exception, match=r"FUELLINE_LOGS is not set.*\$FUELLINE_LOGS/agents"):
        scheduled_ingestion(kickoff=NOW)


def test_an_ingestion_of_known_rows_only_does_not_fail(task_lake: Lake, tmp_path: Path) -> None:
    from workflows.ingestion import ingestion

    rows = [interaction(1), interaction(2)]
    for name, order in {"first": rows, "second": rows[::-1]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_bytes(lines(order))
    first = ingestion(folder=str(tmp_path / "first"), source="agents")
    second = ingestion(folder=str(tmp_path / "second"), source="again")
    assert (second.committed, second.duplicates, second.newest) == (0, 2, first.newest)


@pytest.mark.parametrize(
    ("data", "message"), [(b"{\n", "no row passed the checks, and 1 were rejected"), (b"\n", "no row has arrived yet")]
)
def test_an_ingestion_into_an_empty_lake_reports_whether_rows_were_rejected(
    task_lake: Lake, tmp_path: Path, data: bytes, message: str
) -> None:
    from workflows.ingestion import ingestion

    (tmp_path / "log.jsonl").write_bytes(data)
    with pytest.raises(Exception, match=message):
        ingestion(folder=str(tmp_path), source="agents")


def test_rows_of_the_inbox_are_ingested_without_a_folder_of_logs(
    task_lake: Lake, another_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workflows.ingestion import scheduled_ingestion

    monkeypatch.delenv("FUELLINE_LOGS")
    settings.cache_clear()
    put(task_lake.store, "agents", "g1", 1, 2, lines([interaction(1), interaction(2)]))
    [first] = scheduled_ingestion(kickoff=NOW - HOUR, schedule="earlier")
    assert (first.committed, first.new_objects) == (2, 1)
    [second] = scheduled_ingestion(kickoff=NOW, schedule="later")
    assert second.committed == 0


def test_before_the_first_feedback_nothing_is_ingested_and_nothing_fails(
    task_lake: Lake, another_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workflows.ingestion import scheduled_ingestion

    monkeypatch.delenv("FUELLINE_LOGS")
    monkeypatch.setenv("FUELLINE_VLLM", "http://vllm-0.vllm:8000")
    settings.cache_clear()
    feedback = {"source": "feedback", "data_set": "processed.agent_feedback"}
    assert scheduled_ingestion(kickoff=NOW - HOUR, schedule="earlier", **feedback) == []
    rating = {"interaction_id": f"chatcmpl-{'0' * 32}", "value": 1, "timestamp": NOW.isoformat()}
    put(task_lake.store, "feedback", "g1", 1, 1, json.dumps(rating).encode() + b"\n")
    [first] = scheduled_ingestion(kickoff=NOW, schedule="later", **feedback)
    assert first.landed == 1


def test_the_first_fire_computes_missed_hours_and_each_view_goes_online_by_its_own_schedule(
    task_lake: Lake, another_run: None, tmp_path: Path
) -> None:
    from workflows.features import scheduled_features
    from workflows.ingestion import scheduled_ingestion

    write_sample(tmp_path / "logs" / "agents", days=3)
    scheduled_ingestion(kickoff=NOW.replace(minute=5))
    [hourly] = scheduled_features(kickoff=NOW.replace(minute=15) - 40 * HOUR)
    assert hourly.as_of == NOW.replace(minute=15)
    assert hourly.users == 0
    assert hourly.agents >= 1
    assert _hours(task_lake) == {FIRST_DAY + number * HOUR for number in range(1, 73)}
    assert scheduled_features(kickoff=NOW.replace(minute=15)) == []
    [daily] = scheduled_features(
        kickoff=NOW.replace(hour=2, minute=0), every_minutes=1440, schedule="materialize_daily", view="user_features"
    )
    assert daily.users > 200
    assert daily.agents == 0


def test_cluster_features_go_online_at_half_past_and_by_no_other_schedule(
    task_lake: Lake, another_run: None, tmp_path: Path
) -> None:
    from workflows.features import features, scheduled_features
    from workflows.ingestion import scheduled_ingestion

    write_sample(tmp_path / "logs" / "agents", days=3)
    [landed] = scheduled_ingestion(kickoff=NOW.replace(minute=5))
    metrics = clusters.metrics(clusters.a_day_of_metrics(NOW.replace(hour=0, minute=0)))
    task_lake.tables.append(
        METRICS, metrics.filter(pc.less(metrics["timestamp"], pa.scalar(NOW, metrics.schema[1].type))), key="a"
    )
    [hourly] = scheduled_features(kickoff=NOW.replace(minute=15))
    assert (hourly.agents >= 1, hourly.namespaces) == (True, 0)
    [measured] = scheduled_features(
        kickoff=NOW.replace(minute=30), schedule="compute_infrastructure_hourly", view="infrastructure_features"
    )
    assert (measured.agents, measured.namespaces) == (0, 3)
    _, _, [version] = features(interactions=landed.table, upto=NOW)
    ends = task_lake.tables.read(version, columns=["event_timestamp"])["event_timestamp"].to_pylist()
    assert set(ends) == {NOW.replace(hour=hour, minute=0) for hour in (1, 2)}


def _hours(task_lake: Lake) -> set[datetime]:
    """The window ends with features of agents."""
    version = task_lake.tables.current(AGENT_FEATURES)
    assert version
    return set(task_lake.tables.read(version, columns=["event_timestamp"])["event_timestamp"].to_pylist())


def test_a_schedule_on_an_empty_lake_does_nothing_and_does_not_fail(another_run: None) -> None:
    from workflows.features import scheduled_features
    from workflows.quality import scheduled_audit

    assert scheduled_features(kickoff=NOW.replace(minute=15)) == []
    assert [frame.empty for frame in scheduled_audit(kickoff=NOW.replace(hour=1))] == [True]


def test_in_its_first_hour_a_lake_has_interactions_and_no_features_yet(
    task_lake: Lake, another_run: None, tmp_path: Path
) -> None:
    from workflows.features import scheduled_features
    from workflows.ingestion import scheduled_ingestion

    write_sample(tmp_path / "logs" / "agents", days=1)
    early = datetime(2026, 10, 5, 0, 15, tzinfo=UTC)
    scheduled_ingestion(kickoff=NOW.replace(minute=5))
    pushed = keep_up(task_lake, early, AGENTS)
    assert pushed
    assert (pushed.users, pushed.agents) == (0, 0)
    assert scheduled_features(kickoff=NOW.replace(minute=15))


def test_a_version_is_audited_once(task_lake: Lake, another_run: None, tmp_path: Path) -> None:
    from workflows.ingestion import scheduled_ingestion
    from workflows.quality import scheduled_audit

    write_sample(tmp_path / "logs" / "agents", days=1)
    scheduled_ingestion(kickoff=NOW.replace(minute=5))
    assert len(scheduled_audit(kickoff=NOW.replace(hour=4, minute=30) - timedelta(days=2))) == 1
    assert scheduled_audit(kickoff=NOW.replace(hour=4, minute=30) - timedelta(days=1)) == []
    assert len(task_lake.ledger.entries("sources/agents", kind="audited")) == 1


def test_a_check_that_finds_a_stale_source_fails_its_run_once_and_records_its_finding(
    task_lake: Lake, another_run: None, tmp_path: Path
) -> None:
    from workflows.ingestion import scheduled_ingestion
    from workflows.quality import quality_check

    write_sample(tmp_path / "logs" / "agents", days=1)
    scheduled_ingestion(kickoff=NOW.replace(minute=5))
    with pytest.raises(Exception, match=r"has stopped: it has no row newer than 2026-10-05 23:\d\d UTC"):
        quality_check(kickoff=NOW.replace(minute=25))
    assert quality_check(kickoff=NOW.replace(minute=25) - HOUR) == []
    [checked] = task_lake.ledger.entries("sources/agents", kind="checked")
    assert checked.payload["level"] == "blocked"


def test_a_server_without_new_rows_fails_the_check_of_sources_once(
    task_lake: Lake, another_run: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lake.ingest.pipeline import Ingester
    from workflows.quality import source_check

    assert source_check(kickoff=NOW.replace(minute=0)) == []
    monkeypatch.setenv("FUELLINE_PROMETHEUS", "studio=http://127.0.0.1:9")
    settings.cache_clear()
    row = {"series": "s", "timestamp": "2026-10-05T00:00:00Z", "cluster": "studio", "metric": "up", "labels": "{}"}
    (tmp_path / "rows.jsonl").write_bytes(lines([row | {"value": 1.0}]))
    Ingester(task_lake, METRICS, "prometheus-studio").ingest_file(tmp_path / "rows.jsonl")
    with pytest.raises(Exception, match="prometheus-studio has stopped"):
        source_check(kickoff=NOW.replace(minute=30))
    assert source_check(kickoff=NOW.replace(minute=30)) == []
    assert len(task_lake.ledger.entries("sources/prometheus-studio", kind="silent")) == 1


def test_a_late_weekly_report_is_written_by_the_first_fire(task_lake: Lake, another_run: None) -> None:
    from workflows.weekly import weekly_report

    kickoff = FIRST_DAY + timedelta(hours=6) - timedelta(weeks=2)
    [report] = weekly_report(kickoff=kickoff)
    assert report.week == "2026-W40"
    assert weekly_report(kickoff=kickoff + timedelta(weeks=1)) == []
    assert b"The agents had no requests." in task_lake.store.read(report.object)
    [past] = weekly_report(kickoff=kickoff, week="2026-W38")
    assert b"week 2026-W38" in task_lake.store.read(past.object)
    assert len(task_lake.ledger.entries("schedules/report_weekly")) == 1
