"""Table maintenance and retention as workflows: dry runs only report, and a model in production is replaced."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake, open_lake
from lake.maintenance.retention import cutoff
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from settings import settings
from tests.lake.rows import interaction, table

LONG_AGO = datetime.now(UTC) - timedelta(days=200)


@pytest.fixture(autouse=True)
def _fresh_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYTE_LOCAL_CACHE_ENABLED", "false")
    settings.cache_clear()
    yield
    settings.cache_clear()


def lake_with_a_model() -> Lake:
    """Eight commits of old rows and of new ones; ``agents@v1`` is trained on the first four, and in production."""
    lake = open_lake()
    for number in range(8):
        at = (LONG_AGO if number % 2 else datetime.now(UTC)).replace(minute=number, microsecond=0)
        rows = table([interaction(number, timestamp=at.isoformat(), cluster="forge")])
        version = lake.tables.append(CONTRACT, rows, key=str(number))
        if number == 3:
            lake.tables.tag(version, "agents-v1")
    lake.ledger.append(
        model_chain("agents"), "registered", "registered:1", {"version": 1, "digest": "0" * 64, "path": "p"}
    )
    lake.ledger.append(model_chain("agents"), "promoted", "promoted:1", {"version": 1, "baseline": "base"})
    return lake


def rows(lake: Lake) -> int:
    current = lake.tables.current(CONTRACT)
    assert current
    return lake.tables.read(current).num_rows


def test_a_dry_run_of_retention_reports_what_is_due_and_deletes_nothing() -> None:
    from workflows.maintenance import retention

    lake = lake_with_a_model()
    result = retention()
    assert result.dry_run
    [due] = result.due
    assert (due.data_set, due.rows, due.tags, due.tagged_rows) == (CONTRACT.name, 4, ["agents-v1"], 2)
    assert due.cut == cutoff(CONTRACT, datetime.now(UTC)).isoformat()
    assert rows(lake) == 8
    assert lake.ledger.chains("retention/") == []


def test_retention_retires_the_model_trained_on_the_rows_and_requests_its_successor() -> None:
    from workflows.maintenance import retention

    lake = lake_with_a_model()
    done = retention(dry_run=False)
    assert done.retired == ["agents@v1"]
    assert [(successor.version, successor.answer) for successor in done.successors] == [("agents@v1", "started")]
    assert rows(lake) == 4
    state = read_state(open_lake().ledger, "agents")
    assert state.retired == (1,)
    assert state.request is not None
    assert state.request.trigger == "retention"
    kinds = [entry.kind for entry in open_lake().ledger.entries(f"retention/{CONTRACT.name}")]
    assert kinds == ["retention_due", "retention_done"]
    assert retention(dry_run=False).due == []


def test_the_daily_maintenance_compacts_and_expires_once_a_window() -> None:
    from workflows.maintenance import scheduled_table_care, table_care

    lake = lake_with_a_model()
    [dry_run] = table_care()
    assert (dry_run.before, dry_run.compacted.files_before) == (dry_run.after, 8)
    kickoff = datetime.now(UTC).replace(microsecond=0)
    [done] = scheduled_table_care(kickoff=kickoff)
    assert (done.before.files, done.after.files, done.expired) == (8, 2, 0)
    assert rows(lake) == 8
    assert scheduled_table_care(kickoff=kickoff) != []
    assert scheduled_table_care(kickoff=kickoff - timedelta(days=1)) == []


def test_an_empty_lake_needs_no_maintenance() -> None:
    from workflows.maintenance import retention, table_care

    assert table_care(dry_run=False) == []
    assert retention(dry_run=False).due == []
