"""The ledger: nothing is lost, duplicated or altered unnoticed, and a year of entries takes a few reads."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from errors import ChainChanged, LedgerBroken
from lake.lake import Lake
from lake.store.folder import FolderStore
from lake.store.ledger import CHECKPOINT_EVERY, Entry, Ledger
from lake.store.open import open_store
from settings import Settings
from tests.lake.processes import Counted, LostReply, at_once

START = datetime(2026, 1, 1, tzinfo=UTC)
CHAIN = "models/agents"


def hourly(store: Any) -> Ledger:
    """A ledger whose clock advances an hour per entry."""
    hours = count()
    return Ledger(store, lambda: START + timedelta(hours=next(hours)))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def test_entries_are_read_in_order_and_each_holds_the_digest_of_the_one_before(lake: Lake) -> None:
    for number in range(5):
        lake.ledger.append(CHAIN, "trained", f"k{number}", {"n": number, "nested": {"a": (1, 2)}, "no": None})
    entries = Ledger(lake.store).entries(CHAIN)
    assert [entry.payload["n"] for entry in entries] == [0, 1, 2, 3, 4]
    assert [entry.previous for entry in entries[1:]] == [entry.digest for entry in entries[:-1]]
    assert entries == lake.ledger.entries(CHAIN)
    assert lake.ledger.verify(CHAIN) == 5


def test_a_known_key_writes_nothing_and_returns_the_first_entry(lake: Lake) -> None:
    first = lake.ledger.append(CHAIN, "trained", "k", {"n": 1})
    assert lake.ledger.append(CHAIN, "trained", "k", {"n": 2}) == first
    assert Ledger(lake.store).append(CHAIN, "judged", "k", {}) == first
    assert lake.ledger.verify(CHAIN) == 1
    assert lake.ledger.find(CHAIN, "k") == first
    assert lake.ledger.find(CHAIN, "other") is None


def test_an_entry_with_a_condition_is_refused_where_another_entry_makes_it_false(lake: Lake) -> None:
    counts = []

    def nothing_is_open(entries: Sequence[Entry]) -> bool:
        counts.append(len(entries))
        if len(counts) == 1:
            Ledger(lake.store).append(CHAIN, "opened", "theirs", {})
        return not entries

    with pytest.raises(ChainChanged, match="opened"):
        lake.ledger.append(CHAIN, "opened", "ours", {}, nothing_is_open)
    assert counts == [0, 1]
    assert [entry.key for entry in lake.ledger.entries(CHAIN)] == ["theirs"]
    assert lake.ledger.append(CHAIN, "opened", "theirs", {}, nothing_is_open).key == "theirs"


def test_chains_with_a_common_prefix_are_separate(lake: Lake) -> None:
    for chain in ("sources/a", "sources/a/e0", "sources/ab", "models/a"):
        lake.ledger.append(chain, "x", "k", {"chain": chain})
    assert lake.ledger.chains() == ["models/a", "sources/a", "sources/a/e0", "sources/ab"]
    assert lake.ledger.chains("sources/") == ["sources/a", "sources/a/e0", "sources/ab"]
    assert [lake.ledger.verify(chain) for chain in lake.ledger.chains()] == [1, 1, 1, 1]


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}])
def test_a_payload_that_is_not_json_is_refused_and_nothing_is_written(lake: Lake, payload: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        lake.ledger.append(CHAIN, "x", "k", payload)
    assert lake.ledger.chains() == []


def append_all(settings: Settings, keys: list[str]) -> list[str]:
    ledger = Ledger(open_store(settings))
    return [ledger.append(CHAIN, "x", key, {"key": key}).nonce for key in keys]


@pytest.mark.parametrize("fixture", ["settings", "s3_settings"])
def test_concurrent_writers_append_each_entry_once(fixture: str, request: pytest.FixtureRequest) -> None:
    settings = request.getfixturevalue(fixture)
    shared = [f"shared-{n}" for n in range(10)]
    nonces = at_once(append_all, [(settings, shared + [f"own-{worker}-{n}" for n in range(8)]) for worker in range(4)])
    ledger = Ledger(open_store(settings))
    keys = [entry.key for entry in ledger.entries(CHAIN)]
    assert len(keys) == len(set(keys)) == 10 + 4 * 8
    assert ledger.verify(CHAIN) == 42
    assert all(nonce[:10] == nonces[0][:10] for nonce in nonces)


def test_after_a_lost_reply_the_writer_recognises_its_entry_by_the_nonce(s3_lake: Lake) -> None:
    s3_lake.ledger.append(CHAIN, "x", "before", {})
    lossy = LostReply(s3_lake.store.client)  # type: ignore[attr-defined]
    entry = s3_lake.ledger.append(CHAIN, "x", "k", {})
    assert lossy.losses == 0
    fresh = Ledger(s3_lake.store)
    assert [e.key for e in fresh.entries(CHAIN)] == ["before", "k"]
    assert fresh.find(CHAIN, "k") == entry
    assert fresh.verify(CHAIN) == 2


def _object(seq: int) -> str:
    return f"ledger/{CHAIN}/e{seq:012d}.json"


def change(at: int, **fields: Any) -> Any:
    def spoil(store: FolderStore) -> None:
        store.write(_object(at), json.dumps(json.loads(store.read(_object(at))) | fields).encode())

    return spoil


def remove(at: int) -> Any:
    return lambda store: store.delete(_object(at))


def swap(store: FolderStore) -> None:
    first, second = store.read(_object(2)), store.read(_object(3))
    store.write(_object(2), second)
    store.write(_object(3), first)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(change(2, payload={"n": 99}), id="altered payload"),
        pytest.param(change(2, time="2026-05-05T00:00:00+00:00"), id="altered time"),
        pytest.param(remove(0), id="first is missing"),
        pytest.param(remove(2), id="one is missing"),
        pytest.param(swap, id="two are swapped"),
        pytest.param(change(4, seq=5), id="another number"),
        pytest.param(change(4, chain="models/other"), id="of another chain"),
        pytest.param(lambda store: store.write(_object(4), b"{}"), id="no entry"),
    ],
)
def test_tampering_is_noticed(store: FolderStore, spoil: Any) -> None:
    ledger = hourly(store)
    for number in range(5):
        ledger.append(CHAIN, "x", f"k{number}", {"n": number})
    spoil(store)
    with pytest.raises(LedgerBroken, match=CHAIN):
        Ledger(store).verify(CHAIN)


def test_a_checkpoint_that_differs_from_its_entries_is_noticed(store: FolderStore) -> None:
    ledger = hourly(store)
    for number in range(CHECKPOINT_EVERY):
        ledger.append(CHAIN, "x", f"k{number}", {"n": number})
    [checkpoint] = store.list(f"ledger/{CHAIN}/checkpoints/")
    lines = store.read(checkpoint).split(b"\n")
    last = Entry.decode(lines[-1])
    spoilt = json.dumps(json.loads(lines[-1]) | {"payload": {"n": last.payload["n"] + 1}})
    store.write(checkpoint, b"\n".join([*lines[:-1], spoilt.encode()]))
    with pytest.raises(LedgerBroken, match="checkpoints"):
        Ledger(store).verify(CHAIN)
    store.write(checkpoint, b"\n".join([lines[0], spoilt.encode(), *lines[2:]]))
    with pytest.raises(LedgerBroken):
        Ledger(store).entries(CHAIN)


def test_a_truncated_end_is_noticed_by_the_checkpoint(store: FolderStore) -> None:
    ledger = hourly(store)
    for number in range(CHECKPOINT_EVERY):
        ledger.append(CHAIN, "x", f"k{number}", {})
    store.delete(f"ledger/{CHAIN}/e{CHECKPOINT_EVERY - 1:012d}.json")
    with pytest.raises(LedgerBroken, match="checkpoint"):
        Ledger(store).verify(CHAIN)


def test_a_year_of_hourly_entries_takes_a_few_reads(store: FolderStore) -> None:
    template = Entry(
        chain=CHAIN, seq=0, previous="", nonce="n", time=START, kind="stepped", key="", payload={"share": 0.5}
    )
    entries: list[Entry] = []
    for number in range(8_760):
        fields = {name: getattr(template, name) for name in Entry.__dataclass_fields__}
        fields |= {"seq": number, "key": f"k{number}", "time": START + timedelta(hours=number)}
        fields["previous"] = entries[-1].digest if entries else "0" * 64
        entries.append(Entry(**fields))
    for entry in entries[8_640:]:  # the older ones are only in the checkpoint
        path = store.root / f"ledger/{CHAIN}/e{entry.seq:012d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.encode())
    lines = b"\n".join(entry.encode() for entry in entries[:8_704])
    store.write(f"ledger/{CHAIN}/checkpoints/{8_704:012d}.jsonl", lines)
    counted = Counted(store)
    ledger = Ledger(counted)
    known = ledger.entries(CHAIN, until=START + timedelta(hours=8_000))
    assert known == entries[:8_001]
    assert sum(counted.calls.values()) <= 8_760 - 8_704 + 3
    assert len(ledger.entries(CHAIN)) == 8_760
    assert sum(counted.calls.values()) <= 8_760 - 8_704 + 4


def test_only_the_last_two_checkpoints_are_kept_and_equal_the_entries(store: FolderStore) -> None:
    ledger = hourly(store)
    for number in range(4 * CHECKPOINT_EVERY):
        ledger.append(CHAIN, "x", f"k{number}", {})
    assert len(list(store.list(f"ledger/{CHAIN}/checkpoints/"))) == 2
    assert Ledger(store).entries(CHAIN) == ledger.entries(CHAIN)
    assert ledger.verify(CHAIN) == 4 * CHECKPOINT_EVERY


def test_a_checkpoint_that_is_deleted_after_its_listing_costs_only_reads(store: FolderStore) -> None:
    ledger = hourly(store)
    for number in range(2 * CHECKPOINT_EVERY):
        ledger.append(CHAIN, "x", f"k{number}", {})

    class Vanishing(Counted):
        def read(self, key: str) -> bytes:
            if "/checkpoints/" in key:
                self.store.delete(key)
            return self.store.read(key)

    assert len(Ledger(Vanishing(store)).entries(CHAIN)) == 2 * CHECKPOINT_EVERY


def test_times_in_a_chain_never_go_back_when_a_clock_does(store: FolderStore) -> None:
    times = iter([START + timedelta(hours=5), START, START + timedelta(hours=6)])
    ledger = Ledger(store, lambda: next(times))
    for key in "abc":
        ledger.append(CHAIN, "x", key, {})
    assert [e.key for e in ledger.entries(CHAIN, until=START + timedelta(hours=5))] == ["a", "b"]
    assert ledger.entries(CHAIN, until=START) == []


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    keys=st.lists(st.sampled_from("abcdefgh"), max_size=25), cut=st.integers(-1, 30), kinds=st.sampled_from(["x", "y"])
)
def test_entries_until_a_time_are_the_distinct_keys_in_order(
    keys: list[str], cut: int, kinds: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = FolderStore(tmp_path_factory.mktemp("ledger"))
    ledger = hourly(store)
    for key in keys:
        ledger.append(CHAIN, "x" if key < "e" else "y", key, {})
    distinct = list(dict.fromkeys(keys))
    until = START + timedelta(hours=cut)
    fresh = Ledger(store)
    assert [e.key for e in fresh.entries(CHAIN)] == distinct
    assert [e.key for e in fresh.entries(CHAIN, until=until)] == distinct[: cut + 1]
    assert [e.key for e in fresh.entries(CHAIN, kind=kinds)] == [k for k in distinct if (k < "e") == (kinds == "x")]
    assert fresh.verify(CHAIN) == len(distinct)
