"""The ledger: one append-only, hash-chained log for each model and each source, one object per entry.

State is computed from its entries, so a question about any past time has one exact answer. An entry is created with a
conditional put: of two writers one gets the sequence number, and the other tries the next. When the reply to a put is
lost, its repetition is refused, and the writer recognises its own entry by the nonce in it. Times never go back within
a chain, whatever the writers' clocks say, so the state "as of" a time is that of the entries up to it.

Checkpoints hold all entries up to a number in one object, so that a year of hourly entries takes a few reads. They are
a cache: ``verify`` reads the entries themselves.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from errors import ChainChanged, LeaseLost, LedgerBroken, ObjectExists, ObjectMissing
from lake.store.objects import ObjectStore

GENESIS = "0" * 64
CHECKPOINT_EVERY = 64


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One entry. ``payload`` never holds personal data or free text of a user."""

    chain: str
    seq: int
    previous: str
    """Digest of the entry before, ``GENESIS`` for the first."""
    nonce: str
    time: datetime
    kind: str
    key: str
    """Identifies what the entry was made from; a chain holds one entry per key."""
    payload: dict[str, Any]
    fence: int | None = None
    """Fencing number of the lease that it was written under."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.encode()).hexdigest()

    def encode(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__} | {"time": self.time.isoformat()}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def decode(cls, data: bytes | str) -> "Entry":
        """Read the canonical form. Raises ``ValueError`` or ``TypeError`` for anything else."""
        fields = json.loads(data)
        return cls(**fields | {"time": datetime.fromisoformat(fields["time"])})


Condition = Callable[[Sequence[Entry]], bool]
"""Whether an entry may follow these."""


@dataclass
class _Chain:
    """The entries of a chain in order, indexed by key and kind: a long chain costs no more than a short one."""

    name: str
    entries: list[Entry] = field(default_factory=list)
    by_key: dict[str, Entry] = field(default_factory=dict)
    by_kind: dict[str, list[Entry]] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    """Each entry's canonical form."""
    latest_fence: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def head(self) -> str:
        return hashlib.sha256(self.lines[-1]).hexdigest() if self.lines else GENESIS

    def add(self, entry: Entry) -> None:
        if entry.seq != len(self) or entry.previous != self.head:
            raise LedgerBroken(f"{entry.chain}: entry {entry.seq} does not follow the stored entry {len(self) - 1}")
        self.entries.append(entry)
        self.by_key.setdefault(entry.key, entry)
        self.by_kind.setdefault(entry.kind, []).append(entry)
        self.lines.append(entry.encode())
        self.latest_fence = max(self.latest_fence, entry.fence or 0)


@dataclass
class Ledger:
    """All chains of one store. Cheap to make; not to be shared between threads."""

    store: ObjectStore
    clock: Callable[[], datetime] = utc_now
    fences: Mapping[str, int] = field(default_factory=dict)
    """Fencing numbers of the leases that the writer holds, by chain."""
    _read: dict[str, _Chain] = field(default_factory=dict)

    def append(
        self, chain: str, kind: str, key: str, payload: Mapping[str, Any], only_if: Condition | None = None
    ) -> Entry:
        """Append an entry, or return the one that has this key already and write nothing.

        If the writer holds the chain's lease, the entry carries the lease's number. Once the chain holds an entry
        under a later lease, an earlier holder cannot write any more, however long it was suspended. ``only_if`` is a
        condition on the entries that this one would follow; the conditional put makes check and append one atomic step.

        Raises:
            ChainChanged: ``only_if`` is false.
            LeaseLost: a later holder of the lease has written to the chain.
            ValueError, TypeError: the payload is not plain JSON.
        """
        nonce, fence = secrets.token_hex(16), self.fences.get(chain)
        while True:
            known = self._catch_up(chain)
            if found := known.by_key.get(key):
                return found
            if only_if and not only_if(tuple(known.entries)):
                raise ChainChanged(
                    f"{chain}: the chain has new entries, and {kind} ({key}) no longer holds; read it again"
                )
            if fence is not None and known.latest_fence > fence:
                raise LeaseLost(
                    f"{chain}: {kind} refused under lease {fence}, because lease {known.latest_fence} has written since"
                )
            entry = Entry(
                chain=chain,
                seq=len(known),
                previous=known.head,
                nonce=nonce,
                time=max([self.clock(), *(entry.time for entry in known.entries[-1:])]),
                kind=kind,
                key=key,
                payload=dict(payload),
                fence=fence,
            )
            entry = Entry.decode(entry.encode())  # as it will be read back: lists for tuples, strings for keys
            if self._put(entry):
                known.add(entry)
                self._checkpoint(known)
                return entry

    def find(self, chain: str, key: str) -> Entry | None:
        return self._catch_up(chain).by_key.get(key)

    def entries(self, chain: str, *, until: datetime | None = None, kind: str | None = None) -> list[Entry]:
        """Entries in order: all, or those at or before ``until``, or those of one ``kind``."""
        known = self._catch_up(chain)
        found = known.entries if kind is None else known.by_kind.get(kind, [])
        return [entry for entry in found if until is None or entry.time <= until]

    def chains(self, prefix: str = "") -> list[str]:
        keys = self.store.list(f"ledger/{prefix}")
        return sorted({key.removeprefix("ledger/").rsplit("/", 1)[0] for key in keys if "/checkpoints/" not in key})

    def verify(self, chain: str) -> int:
        """Check the hash chain over all entries and compare it with the checkpoints; return the number of entries.

        Only a later checkpoint protects the last entry: keep its digest elsewhere to detect that the end was cut off
        or rewritten. Raises ``LedgerBroken`` where an entry is missing, altered or out of order, or a checkpoint
        differs from the entries.
        """
        checkpoints = {key: kept for key in self._checkpoints(chain) if (kept := self._from_checkpoint(chain, key))}
        walked = _Chain(chain)
        names = [key for key in self.store.list(f"ledger/{chain}/e") if key.rpartition("/")[0] == f"ledger/{chain}"]
        for key in names:
            if key != _key(chain, len(walked)):
                raise LedgerBroken(f"{chain}: entry {len(walked)} is missing; the next one found is {key}")
            walked.add(self._entry(key))
        for key, kept in checkpoints.items():
            if kept.entries != walked.entries[: len(kept)]:
                raise LedgerBroken(f"{chain}: {key} differs from the entries that it holds")
        return len(walked)

    def _catch_up(self, chain: str) -> _Chain:
        """The entries read so far, after reading those that were appended since."""
        known = self._read.setdefault(chain, _Chain(chain))
        if not known:
            kept = (self._from_checkpoint(chain, key) for key in reversed(self._checkpoints(chain)))
            known = self._read[chain] = next(filter(None, kept), known)
        while True:
            try:
                entry = self._entry(_key(chain, len(known)))
            except ObjectMissing:
                return known
            known.add(entry)

    def _put(self, entry: Entry) -> bool:
        """Create the entry's object; False if another writer has its number."""
        key = _key(entry.chain, entry.seq)
        try:
            self.store.create(key, entry.encode())
        except ObjectExists:
            return self._entry(key).nonce == entry.nonce
        return True

    def _entry(self, key: str) -> Entry:
        entry = _decode(key, self.store.read(key))
        if _key(entry.chain, entry.seq) != key:
            raise LedgerBroken(f"{key} holds entry {entry.seq} of {entry.chain}")
        return entry

    def _checkpoint(self, known: _Chain) -> None:
        """Write all entries into one object, every 64 entries. Two writers of one number write the same bytes."""
        if len(known) % CHECKPOINT_EVERY == 0:
            self.store.write(f"ledger/{known.name}/checkpoints/{len(known):012d}.jsonl", b"\n".join(known.lines))
            for key in self._checkpoints(known.name)[:-2]:
                self.store.delete(key)

    def _checkpoints(self, chain: str) -> list[str]:
        return list(self.store.list(f"ledger/{chain}/checkpoints/"))

    def _from_checkpoint(self, chain: str, key: str) -> _Chain:
        """The entries of a checkpoint; none if it was deleted since it was listed, because a newer one replaced it."""
        kept = _Chain(chain)
        try:
            lines = self.store.read(key).split(b"\n")
        except ObjectMissing:
            return kept
        for line in lines:
            kept.add(_decode(key, line))
        return kept


def _key(chain: str, seq: int) -> str:
    return f"ledger/{chain}/e{seq:012d}.json"


def _decode(key: str, data: bytes) -> Entry:
    try:
        return Entry.decode(data)
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerBroken(f"{key} is not a ledger entry: {type(error).__name__}") from error
