"""The ledger: one append-only, hash-chained log for each model and source, one object an entry.

State is a fold over it, so "what was in production on 3 November, and why?" has one exact answer. An entry is created
with a conditional put, so of two writers one wins the sequence number and the other begins again. A reply of the store
can be lost after the put took effect: the retry is then refused, and the writer knows its own entry by the nonce in it.
Times never go back within a chain, whatever the writers' clocks say, so that "as of" is a cut through it.

Checkpoints hold all entries up to a number in one object, so that reading a year of hourly entries takes one read and
a few more. They are a cache: ``verify`` walks the entries themselves.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from errors import ChainMoved, LeaseLost, LedgerBroken, ObjectExists, ObjectMissing
from lake.store.objects import ObjectStore

GENESIS = "0" * 64
CHECKPOINT_EVERY = 64


def utc_now() -> datetime:
    """The clock of everything that is not given another."""
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
    """What it was made from; a chain holds one entry a key."""
    payload: dict[str, Any]
    fence: int | None = None
    """Fencing number of the lease it was written under."""

    @property
    def digest(self) -> str:
        """sha256 over the canonical form."""
        return hashlib.sha256(self.encode()).hexdigest()

    def encode(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__} | {"time": self.time.isoformat()}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def decode(cls, data: bytes | str) -> "Entry":
        """Read the canonical form. Raises ``ValueError`` or ``TypeError`` on anything else."""
        fields = json.loads(data)
        return cls(**fields | {"time": datetime.fromisoformat(fields["time"])})


Condition = Callable[[Sequence[Entry]], bool]
"""Whether an entry may follow these."""


@dataclass
class _Chain:
    """The entries of a chain in order, and by what they are looked up: a long chain costs no more than a short one."""

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
        """Digest of the last entry."""
        return hashlib.sha256(self.lines[-1]).hexdigest() if self.lines else GENESIS

    def follow(self, entry: Entry) -> None:
        """Put an entry at the end. Raises ``LedgerBroken`` if it does not belong there."""
        if entry.seq != len(self) or entry.previous != self.head:
            raise LedgerBroken(f"{entry.chain}: entry {entry.seq} does not follow entry {len(self) - 1} as it stands")
        self.entries.append(entry)
        self.by_key.setdefault(entry.key, entry)
        self.by_kind.setdefault(entry.kind, []).append(entry)
        self.lines.append(entry.encode())
        self.latest_fence = max(self.latest_fence, entry.fence or 0)


@dataclass
class Ledger:
    """All chains of one store. Not to be shared between threads; cheap to make."""

    store: ObjectStore
    clock: Callable[[], datetime] = utc_now
    fences: Mapping[str, int] = field(default_factory=dict)
    """Numbers of the leases that the writer holds, by chain."""
    _read: dict[str, _Chain] = field(default_factory=dict)

    def append(
        self,
        chain: str,
        kind: str,
        key: str,
        payload: Mapping[str, Any],
        only_if: Condition | None = None,
    ) -> Entry:
        """Append an entry, or return the one that carries this key already (and write nothing).

        Where the entry rests on what the chain says, ``only_if`` looks at the entries that it would follow: the
        conditional put makes the look and the append one.

        Where the writer holds the chain's lease, the entry carries the lease's number. Once one under a later lease
        stands in the chain, an earlier holder writes nothing more, however late it wakes up: the conditional put
        decides both.

        Raises:
            ChainMoved: ``only_if`` says no.
            LeaseLost: a later holder of the lease has written to the chain.
            ValueError, TypeError: the payload is not plain JSON.
        """
        nonce, fence = secrets.token_hex(16), self.fences.get(chain)
        while True:
            known = self._catch_up(chain)
            if found := known.by_key.get(key):
                return found
            if only_if and not only_if(tuple(known.entries)):
                raise ChainMoved(f"{chain}: others have written since, and {kind} ({key}) would not be true any more")
            if fence is not None and known.latest_fence > fence:
                raise LeaseLost(
                    f"{chain}: {kind} was to be written under lease {fence}, but {known.latest_fence} has written since"
                )
            entry = _plain(
                Entry(
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
            )
            if self._put(entry):
                known.follow(entry)
                self._checkpoint(known)
                return entry

    def find(self, chain: str, key: str) -> Entry | None:
        """The entry with this key, if there is one."""
        return self._catch_up(chain).by_key.get(key)

    def entries(self, chain: str, *, until: datetime | None = None, kind: str | None = None) -> list[Entry]:
        """Entries in order: those at or before ``until``, of one ``kind`` if given."""
        known = self._catch_up(chain)
        found = known.entries if kind is None else known.by_kind.get(kind, [])
        return [entry for entry in found if until is None or entry.time <= until]

    def chains(self, prefix: str = "") -> list[str]:
        """Names of all chains that start with ``prefix``."""
        keys = self.store.list(f"ledger/{prefix}")
        return sorted({key.removeprefix("ledger/").rsplit("/", 1)[0] for key in keys if "/checkpoints/" not in key})

    def verify(self, chain: str) -> int:
        """Walk the entries themselves, checkpoints too; return how many there are.

        What the last entry says is held by nothing but a later checkpoint: give its digest to somebody else to notice
        that the end was cut off or rewritten.

        Raises:
            LedgerBroken: an entry is missing, altered or out of order, or a checkpoint says otherwise.
        """
        checkpoints = {key: kept for key in self._checkpoints(chain) if (kept := self._from_checkpoint(chain, key))}
        walked = _Chain(chain)
        names = [key for key in self.store.list(f"ledger/{chain}/e") if key.rpartition("/")[0] == f"ledger/{chain}"]
        for key in names:
            if key != _key(chain, len(walked)):
                raise LedgerBroken(f"{chain}: entry {len(walked)} is missing, the next one there is {key}")
            walked.follow(self._entry(key))
        for key, kept in checkpoints.items():
            if kept.entries != walked.entries[: len(kept)]:
                raise LedgerBroken(f"{chain}: {key} differs from the entries it stands for")
        return len(walked)

    def _catch_up(self, chain: str) -> _Chain:
        """All entries known so far, after reading those that were appended since the last look."""
        known = self._read.setdefault(chain, _Chain(chain))
        if not known:
            for key in self._checkpoints(chain)[::-1]:
                if kept := self._from_checkpoint(chain, key):
                    known = self._read[chain] = kept
                    break
        while True:
            try:
                entry = self._entry(_key(chain, len(known)))
            except ObjectMissing:
                return known
            known.follow(entry)

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
        """Keep all entries up to here in one object. Two writers of one number write the same bytes."""
        if len(known) % CHECKPOINT_EVERY == 0:
            self.store.write(f"ledger/{known.name}/checkpoints/{len(known):012d}.jsonl", b"\n".join(known.lines))
            for key in self._checkpoints(known.name)[:-2]:
                self.store.delete(key)

    def _checkpoints(self, chain: str) -> list[str]:
        return list(self.store.list(f"ledger/{chain}/checkpoints/"))

    def _from_checkpoint(self, chain: str, key: str) -> _Chain:
        """The entries it holds, in their order; none if a newer one has replaced it since it was listed."""
        kept = _Chain(chain)
        try:
            lines = self.store.read(key).split(b"\n")
        except ObjectMissing:
            return kept
        for line in lines:
            kept.follow(_decode(key, line))
        return kept


def _key(chain: str, seq: int) -> str:
    return f"ledger/{chain}/e{seq:012d}.json"


def _plain(entry: Entry) -> Entry:
    """As it will be read back: lists for tuples, strings for keys."""
    return Entry.decode(entry.encode())


def _decode(key: str, data: bytes) -> Entry:
    try:
        return Entry.decode(data)
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerBroken(f"{key} is not a ledger entry: {type(error).__name__}") from error
