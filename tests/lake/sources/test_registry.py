"""The pulled data sets: their retention, the settings of their servers, the chunks of a time span."""

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import SettingsError, UnknownName
from lake.contracts import contract
from lake.ingest.parse import REJECTS
from lake.sources.pull import chunks
from lake.sources.registry import PULL_SOURCES, pull_source
from lake.sources.selection import Selection
from settings import PEERS, read_settings

AGREED = {
    "processed.metrics": 30,
    "processed.logs": 30,
    "processed.traces": 7,
    "processed.kubernetes_events": 7,
    "processed.workflow_runs": 365,
    "processed.github_issues": 365,
    "processed.github_audit": 365,
}
SOURCES = Path(__file__).parents[3] / "lake" / "sources"


@pytest.mark.parametrize(("data_set", "days"), AGREED.items())
def test_each_data_set_and_its_quarantine_have_the_agreed_retention(data_set: str, days: int) -> None:
    assert contract(data_set).retention_days == days
    assert contract(data_set.replace("processed", "quarantine")).retention_days == days


def test_every_pulled_data_set_has_a_contract_and_every_kind_of_server_a_data_set() -> None:
    assert set(PULL_SOURCES) == {*AGREED, "processed.agent_interactions"}
    assert {source.peer for source in PULL_SOURCES.values()} == set(PEERS)
    with pytest.raises(UnknownName, match=r"did you mean 'processed\.metrics'"):
        pull_source("processed.metric")


@pytest.mark.parametrize("data_set", PULL_SOURCES)
def test_no_column_has_the_name_of_a_quarantine_column(data_set: str) -> None:
    own_columns = set(REJECTS.names) - {"timestamp", "agent_name", "error"}
    assert not own_columns & {column.name for column in contract(data_set).columns}


def test_servers_are_named_by_cluster_and_each_has_its_own_token() -> None:
    settings = read_settings(
        loki="studio=http://loki.studio:3100/, forge=https://loki.forge/tenant", loki_token="forge=abc=="
    )
    studio, forge = settings.endpoints("loki")
    assert (studio.url, studio.token.get_secret_value()) == ("http://loki.studio:3100", "")
    assert (forge.cluster, forge.url, forge.token.get_secret_value()) == ("forge", "https://loki.forge/tenant", "abc==")
    assert "abc" not in f"{forge} {settings!r}"


@pytest.mark.parametrize(
    "value",
    [
        "http://loki",
        "studio=loki:3100",
        "studio=http://me:pw@loki",
        "Studio=http://loki",
        "a=http://x,a=http://y",
        "a=",
    ],
)
def test_an_invalid_address_is_refused_with_the_name_of_the_setting(value: str) -> None:
    with pytest.raises(SettingsError, match="FUELLINE_LOKI"):
        read_settings(loki=value)


@pytest.mark.parametrize("peer", PEERS)
def test_a_missing_setting_is_named_with_its_purpose_and_an_example(peer: str) -> None:
    variable = f"FUELLINE_{peer.upper()}"
    with pytest.raises(SettingsError, match=rf"{variable} is not set.*by cluster.*Example: {variable}=\w+=https?://"):
        read_settings().endpoints(peer)


@pytest.mark.parametrize(
    "changes",
    [{"queries": {}}, {"queries": {"Bad name": "up"}}, {"step_s": 0}, {"chunk_minutes": 0}, {"settle_s": -1}],
)
def test_an_invalid_selection_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"query|unlike in"):
        Selection(**({"data_set": "processed.metrics", "queries": {"up": "up"}} | changes))


@given(start=st.integers(0, 10**6), length=st.integers(1, 10**5), chunk=st.integers(600, 10**5))
def test_chunks_have_no_gap_or_overlap_and_fixed_boundaries(start: int, length: int, chunk: int) -> None:
    first = datetime(2026, 11, 2, tzinfo=UTC) + timedelta(seconds=start)
    last, size = first + timedelta(seconds=length), timedelta(seconds=chunk)
    parts = list(chunks(first, last, size))
    assert (parts[0].start, parts[-1].end) == (first, last)
    assert all(now.start == before.end for before, now in itertools.pairwise(parts))
    within = {part.start for part in parts[1:]}
    assert all((at - datetime(1970, 1, 1, tzinfo=UTC)) % size == timedelta() for at in within)


def test_no_source_contains_an_address() -> None:
    """Addresses of servers are settings; the modules contain only paths, and links to documentation."""
    for path in SOURCES.rglob("*.py"):
        code = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"https?://\w", code), path.name
