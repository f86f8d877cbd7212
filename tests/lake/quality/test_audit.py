"""The daily audit finds repeated keys that a commit does not compare."""

from datetime import UTC, datetime, timedelta

from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake
from lake.quality.audit import audit
from tests.lake.rows import interaction, table


def at(day: int, minute: int = 0) -> str:
    return (datetime(2026, 10, 1, tzinfo=UTC) + timedelta(days=day, minutes=minute)).isoformat()


def test_a_clean_table_has_no_findings(lake: Lake) -> None:
    version = lake.tables.append(CONTRACT, table(interaction(n) for n in range(50)), key="a")
    assert audit(lake.tables, CONTRACT, version) == []


def test_ids_on_distant_days_are_found_and_counted(lake: Lake) -> None:
    for day in (0, 3, 6):
        rows = [interaction(n, timestamp=at(day, n)) for n in range(30 if day else 31)]
        version = lake.tables.append(CONTRACT, table(rows), key=f"day {day}")
    [finding] = audit(lake.tables, CONTRACT, version)
    assert finding.reason == "interaction_id_conflict"
    assert (finding.keys, finding.rows) == (30, 90)


def test_two_rows_of_an_agent_at_the_same_instant_are_found(lake: Lake) -> None:
    rows = table([interaction(0), interaction(1, timestamp=interaction(0)["timestamp"], agent_name="bruno")])
    with lake.tables.writer(CONTRACT, "unchecked") as writer:
        writer.add(rows)
        commit = writer.commit({})
    assert commit
    [finding] = audit(lake.tables, CONTRACT, commit.version)
    assert (finding.reason, finding.keys, finding.rows) == ("timestamp_agent_conflict", 1, 2)
