"""A server that stopped fails the run; one that is not set, not read yet, or within its limit does not."""

from datetime import timedelta
from pathlib import Path

import pytest

from errors import SourceError, UnknownName
from lake.contracts.telemetry import METRICS
from lake.ingest.pipeline import Ingester
from lake.lake import Lake, open_lake
from lake.quality.staleness import StalenessPolicy, check_sources, require_fresh
from settings import read_settings
from tests.features.conftest import FIRST_DAY

HOUR = timedelta(hours=1)
POLICY = StalenessPolicy()


@pytest.fixture
def measured(tmp_path: Path) -> Lake:
    """A lake with two Prometheus servers, one with a row of midnight, and no Loki."""
    settings = read_settings(
        home=tmp_path / "home", lake="test", prometheus="studio=http://127.0.0.1:9,forge=http://127.0.0.1:9"
    )
    lake = open_lake(settings, clock=lambda: FIRST_DAY + HOUR)
    path = tmp_path / "rows.jsonl"
    path.write_text(
        f'{{"series":"s","timestamp":"{FIRST_DAY:%Y-%m-%dT%H:%M:%SZ}","cluster":"studio","metric":"up","labels":"{{}}",'
        '"value":1.0}\n'
    )
    assert Ingester(lake, METRICS, "prometheus-studio").ingest_file(path).committed == 1
    return lake


def test_a_stopped_source_fails_and_is_recorded_once(measured: Lake) -> None:
    at = FIRST_DAY + HOUR + timedelta(seconds=1)
    for _ in range(2):
        checked = check_sources(measured, POLICY, at)
    with pytest.raises(SourceError, match=r"^prometheus-studio has stopped: the newest row of processed.metrics is of"):
        require_fresh(checked)
    [kept] = measured.ledger.entries("sources/prometheus-studio", kind="silent")
    assert kept.payload["age_s"] == 3601


def test_within_its_limit_a_source_may_have_nothing_new(measured: Lake) -> None:
    checked = check_sources(measured, POLICY, FIRST_DAY + HOUR)
    require_fresh(checked)
    assert measured.ledger.entries("sources/prometheus-studio", kind="silent") == []
    assert [freshness.complaint for freshness in checked] == [
        "",
        "prometheus-forge has had no row of processed.metrics yet",
    ]


def test_a_server_that_is_not_set_is_not_checked(measured: Lake) -> None:
    assert {freshness.source for freshness in check_sources(measured, POLICY, FIRST_DAY)} == {
        "prometheus-studio",
        "prometheus-forge",
    }


def test_an_invalid_policy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"above 0, unlike those of processed\.logs"):
        StalenessPolicy(hours={"processed.logs": 0.0})
    with pytest.raises(UnknownName, match=r"did you mean 'processed\.logs'"):
        StalenessPolicy(hours={"processed.log": 1.0})
