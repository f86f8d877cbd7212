"""The audit as a workflow: duplicates on distant days are found, reported and recorded once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import open_lake
from settings import settings
from tests.lake.rows import interaction, table


@pytest.fixture(autouse=True)
def _fresh_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYTE_LOCAL_CACHE_ENABLED", "false")
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_an_id_on_two_distant_days_is_reported_and_recorded_once() -> None:
    from workflows.quality import audit

    lake = open_lake()
    for day in ("2026-10-01", "2026-10-09"):
        rows = table([interaction(0, timestamp=f"{day}T12:00:00+00:00")])
        lake.tables.append(AGENT_INTERACTIONS, rows, key=day)
    for _ in range(2):
        found = audit()
        assert found.to_dict("records") == [{"reason": "interaction_id_conflict", "keys": 1, "rows": 2}]
    [entry] = open_lake().ledger.entries("sources/agents", kind="audited")
    assert entry.payload["findings"] == [{"reason": "interaction_id_conflict", "keys": 1, "rows": 2}]


def test_an_empty_lake_has_no_findings() -> None:
    from workflows.quality import audit

    assert audit().empty
