"""A server that stops telling is told of; one that is not set, not read yet, or merely quiet makes no run fail."""

from datetime import timedelta
from pathlib import Path

import pytest

from errors import SourceError, UnknownName
from lake.contracts.metrics import METRICS
from lake.ingest.pipeline import Ingester
from lake.lake import Lake, open_lake
from lake.quality.staleness import SilenceRule, listen, require_heard
from settings import read_settings
from tests.features.conftest import FIRST_DAY

HOUR = timedelta(hours=1)
RULE = SilenceRule()


@pytest.fixture
def measured(tmp_path: Path) -> Lake:
    """A lake with two Prometheus servers, one of which told of midnight, and no Loki."""
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


def test_a_source_that_told_and_stopped_fails_and_is_on_record_once(measured: Lake) -> None:
    at = FIRST_DAY + HOUR + timedelta(seconds=1)
    for _ in range(2):
        heard = listen(measured, RULE, at)
    with pytest.raises(
        SourceError, match=r"^prometheus-studio tells nothing: the newest row of processed.metrics is of"
    ):
        require_heard(heard)
    [kept] = measured.ledger.entries("sources/prometheus-studio", kind="silent")
    assert kept.payload["age_s"] == 3601


def test_within_its_hours_a_source_may_be_quiet(measured: Lake) -> None:
    heard = listen(measured, RULE, FIRST_DAY + HOUR)
    require_heard(heard)
    assert measured.ledger.entries("sources/prometheus-studio", kind="silent") == []
    assert [one.complaint for one in heard] == ["", "prometheus-forge has not told anything of processed.metrics yet"]


def test_a_server_that_is_not_set_is_not_listened_for(measured: Lake) -> None:
    assert {one.source for one in listen(measured, RULE, FIRST_DAY)} == {"prometheus-studio", "prometheus-forge"}


def test_a_rule_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"above 0, unlike those of processed\.logs"):
        SilenceRule(hours={"processed.logs": 0.0})
    with pytest.raises(UnknownName, match=r"did you mean 'processed\.logs'"):
        SilenceRule(hours={"processed.log": 1.0})
