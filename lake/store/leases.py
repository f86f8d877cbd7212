"""Leases: one object each, renewed by compare-and-swap, with a fencing number that grows with each new holder.

A lease is not a ledger entry, because it is renewed every few seconds; every entry written under a lease carries its
number. The lease of a dead holder is free when it expires. Clocks may differ: choose a time to live well above their
skew.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from errors import LeaseLost, ObjectChanged, ObjectExists, ObjectMissing
from lake.store.ledger import utc_now
from lake.store.objects import ObjectStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A holder's exclusive right to a name until ``expires``."""

    name: str
    holder: str
    fence: int
    ttl_s: float
    expires: datetime
    etag: str


@dataclass(frozen=True)
class Leases:
    """The leases of one store."""

    store: ObjectStore
    clock: Callable[[], datetime] = utc_now

    def holder(self, name: str) -> Lease | None:
        """Who holds it now; None where it is free or expired."""
        found = self._read(name)
        return found if found and found.expires > self.clock() else None

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take the lease if it is free, expired or already this holder's; None while another one has it."""
        now, held = self.clock(), self._read(name)
        if held is None:
            return self._put(Lease(name=name, holder=holder, fence=1, ttl_s=ttl_s, expires=now, etag=""))
        live = held.expires > now
        if live and held.holder != holder:
            return None
        fence = held.fence + (0 if live else 1)
        return self._put(replace(held, holder=holder, fence=fence, ttl_s=ttl_s))

    def resume(self, name: str, holder: str, fence: int, ttl_s: float) -> Lease:
        """Renew the lease that another process of the same holder took under this number. If it expired and was not
        taken since, it is still the holder's. Raises ``LeaseLost`` where another has it now, or it was released.
        """
        held = self._read(name)
        if held is None or (held.holder, held.fence) != (holder, fence):
            raise LeaseLost(f"lease {name!r} is no longer {holder!r}'s (fence {fence})")
        return self.renew(replace(held, ttl_s=ttl_s))

    def renew(self, lease: Lease) -> Lease:
        """Extend the lease by its time to live. Raises ``LeaseLost`` where it expired and another holder has it now."""
        renewed = self._put(lease)
        if renewed is None:
            raise LeaseLost(f"lease {lease.name!r} was taken from {lease.holder!r} (fence {lease.fence})")
        return renewed

    def release(self, lease: Lease) -> None:
        """Free the lease, so that the next holder need not wait; no error if it is lost already."""
        self._put(replace(lease, holder="", ttl_s=0.0))

    def _read(self, name: str) -> Lease | None:
        try:
            data, etag = self.store.read_versioned(_key(name))
        except ObjectMissing:
            return None
        fields = json.loads(data)
        expires = datetime.fromisoformat(fields.pop("expires"))
        return Lease(name=name, **fields, ttl_s=0.0, expires=expires, etag=etag)

    def _put(self, lease: Lease) -> Lease | None:
        expires = self.clock() + timedelta(seconds=lease.ttl_s)
        data = json.dumps({"holder": lease.holder, "fence": lease.fence, "expires": expires.isoformat()}).encode()
        try:
            if lease.etag:
                etag = self.store.replace(_key(lease.name), data, lease.etag)
            else:
                etag = self.store.create(_key(lease.name), data)
        except (ObjectChanged, ObjectExists):
            # Its reply may have been lost, and the store refuses only the repetition: the bytes are ours then.
            try:
                found, etag = self.store.read_versioned(_key(lease.name))
            except ObjectMissing:
                return None
            if found != data:
                return None
        return replace(lease, expires=expires, etag=etag)


def _key(name: str) -> str:
    return f"leases/{name}.json"
