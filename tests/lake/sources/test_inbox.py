"""The inbox: many small objects become few commits, and nothing is lost or counted twice after a crash."""

import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import lake.sources.inbox as inbox
from lake.contracts.agent_interactions import AGENT_FEEDBACK, AGENT_INTERACTIONS
from lake.lake import Lake, open_lake
from lake.sources.inbox import collect_all, is_fed, put
from tests.lake.rows import interaction

START = datetime(2026, 11, 9, 12, tzinfo=UTC)


def ratings(first: int, last: int) -> bytes:
    """Feedback rows of the interactions ``first`` to ``last``."""
    rows = (
        {"interaction_id": f"i{n}", "value": n % 2, "timestamp": (START + timedelta(seconds=n)).isoformat()}
        for n in range(first, last + 1)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def fill(lake: Lake, objects: int, gateway: str = "g1") -> None:
    """Put ``objects`` objects of two rows each into the inbox."""
    for n in range(objects):
        put(lake.store, "feedback", gateway, 2 * n + 1, 2 * n + 2, ratings(2 * n + 1, 2 * n + 2))


def row_counts(lake: Lake) -> Counter[str]:
    """The number of rows of each interaction in the table."""
    version = lake.tables.current(AGENT_FEEDBACK)
    assert version
    return Counter(lake.tables.read(version)["interaction_id"].to_pylist())


def waiting(lake: Lake) -> list[str]:
    return list(lake.store.list("inbox/"))


def test_waiting_objects_become_one_commit_and_leave_the_inbox(lake: Lake) -> None:
    fill(lake, 5)
    [done] = collect_all(lake, AGENT_FEEDBACK, "feedback")
    assert (done.landed, done.committed) == (10, 10)
    assert waiting(lake) == []
    assert collect_all(lake, AGENT_FEEDBACK, "feedback") == []
    assert len(lake.ledger.entries("sources/feedback", kind="ingested")) == 1
    assert lake.ledger.entries("sources/feedback", kind="collected")[0].payload == {"objects": 5}


def test_an_empty_inbox_does_nothing(lake: Lake) -> None:
    assert collect_all(lake, AGENT_FEEDBACK, "feedback") == []
    assert not is_fed(lake, "feedback")


def test_a_source_is_fed_while_something_waits_and_ever_after(lake: Lake) -> None:
    fill(lake, 1)
    assert is_fed(lake, "feedback")
    collect_all(lake, AGENT_FEEDBACK, "feedback")
    assert is_fed(lake, "feedback")
    assert not is_fed(lake, "agents")


def test_putting_the_same_again_changes_nothing(lake: Lake) -> None:
    fill(lake, 2)
    fill(lake, 2)
    assert len(waiting(lake)) == 2


@pytest.mark.parametrize("bound", [{"MERGED_OBJECTS": 2}, {"MERGED_BYTES": 300}])
def test_one_merge_is_bounded_and_the_rest_follows(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, bound: dict[str, int]
) -> None:
    for name, value in bound.items():
        monkeypatch.setattr(inbox, name, value)
    fill(lake, 7)
    done = collect_all(lake, AGENT_FEEDBACK, "feedback")
    assert len(done) > 2
    assert sum(window.committed for window in done) == 14
    assert waiting(lake) == []


def test_a_crash_before_the_inbox_is_cleared_loses_and_duplicates_no_row(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake, 3)
    with monkeypatch.context() as patch:
        patch.setattr(type(lake.store), "delete", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            collect_all(lake, AGENT_FEEDBACK, "feedback")
    put(lake.store, "feedback", "g2", 7, 8, ratings(7, 8))
    [done] = collect_all(lake, AGENT_FEEDBACK, "feedback")
    assert (done.committed, done.duplicates) == (2, 6)
    assert row_counts(lake) == {f"i{n}": 1 for n in range(1, 9)}


def test_an_object_that_is_put_again_after_its_collection_is_a_duplicate(lake: Lake) -> None:
    fill(lake, 1)
    collect_all(lake, AGENT_FEEDBACK, "feedback")
    fill(lake, 1)
    collect_all(lake, AGENT_FEEDBACK, "feedback")
    assert row_counts(lake) == {"i1": 1, "i2": 1}


def test_concurrent_collectors_commit_each_row_once(lake: Lake) -> None:
    fill(lake, 20)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            collect_all(open_lake(lake.settings), AGENT_FEEDBACK, "feedback")
        except BaseException as error:
            faults.append(error)

    collectors = [threading.Thread(target=work) for _ in range(3)]
    for collector in collectors:
        collector.start()
    for collector in collectors:
        collector.join()
    collect_all(lake, AGENT_FEEDBACK, "feedback")
    assert faults == []
    assert row_counts(lake) == {f"i{n}": 1 for n in range(1, 41)}


def test_a_merge_that_landed_without_its_commit_is_finished_although_more_is_waiting(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise RuntimeError("power cut")

    fill(lake, 2)
    with monkeypatch.context() as patch:
        patch.setattr("lake.ingest.pipeline.Ingester._commit", dies)
        with pytest.raises(RuntimeError, match="power cut"):
            collect_all(lake, AGENT_FEEDBACK, "feedback")
    fill(lake, 3)
    finished, merged = collect_all(open_lake(lake.settings), AGENT_FEEDBACK, "feedback")
    assert (finished.committed, merged.committed, merged.duplicates) == (4, 2, 4)
    assert waiting(lake) == []


def test_a_bad_row_is_quarantined_and_stops_nothing(lake: Lake) -> None:
    good = json.dumps(interaction(1)).encode() + b"\n"
    put(lake.store, "agents", "g1", 1, 2, good + b'{"interaction_id": "half')
    [done] = collect_all(lake, AGENT_INTERACTIONS, "agents")
    assert (done.committed, done.quarantined) == (1, 1)
    assert waiting(lake) == []


def test_the_inbox_works_on_s3(s3_lake: Lake, tmp_path: Path) -> None:
    fill(s3_lake, 3)
    fill(s3_lake, 3)
    [done] = collect_all(s3_lake, AGENT_FEEDBACK, "feedback")
    assert done.committed == 6
    assert waiting(s3_lake) == []
