"""The right to train a model: one lease per model, which a running training renews and a dead one loses.

The lease belongs to a run, not to a process: each stage of a run is a pod of its own and takes the lease over from the
stage before. A running stage renews it every few seconds; between two stages, where a pod may wait for a GPU, it lasts
for ``Claim.patience_s``. Entries in the model's chain carry the lease's number (the fence), so a run that lost its
lease without noticing cannot write any more.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from errors import LeaseLost, PeerError
from lake.lake import Lake, open_lake
from lake.store.leases import Lease
from models.registry.kinds import model_chain

log = logging.getLogger("fuelline.claims")

LEASE_S = 120.0
"""How long a stage that died keeps the lease, in seconds."""
RENEWAL_S = 20.0
"""Seconds between two renewals: several may fail before the lease expires."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A run's right to train a model, as its tasks pass it on."""

    model: str
    holder: str
    """Name of the run."""
    fence: int
    """Number of the lease; 0 where another run holds it."""
    patience_s: float = LEASE_S
    """How long the lease lasts between two stages, in seconds."""

    @property
    def granted(self) -> bool:
        return self.fence > 0


class Heartbeat:
    """Renews a lease in a thread; ``check`` raises where the lease was lost."""

    def __init__(self, lake: Lake, lease: Lease) -> None:
        self._leases = open_lake(lake.settings, clock=lake.leases.clock).leases
        self._lease = lease
        self._lost: LeaseLost | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {lease.name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise ``LeaseLost`` if another run has the lease now."""
        if self._lost:
            raise self._lost

    def stop(self) -> Lease:
        """End the thread and return the lease as it was last renewed."""
        self._stop.set()
        self._thread.join()
        return self._lease

    def _renew(self) -> None:
        while not self._stop.wait(RENEWAL_S):
            try:
                self._lease = self._leases.renew(self._lease)
            except LeaseLost as error:
                self._lost = error
                return
            except PeerError as error:
                log.warning("lease %s was not renewed and will be tried again: %s", self._lease.name, error)


def claim(lake: Lake, model: str, holder: str, *, patience_s: float = LEASE_S) -> Claim:
    """Try to get the right to train a model; a run that has it gets it again with the same number."""
    lease = lake.leases.acquire(_name(model), holder, patience_s)
    return Claim(model=model, holder=holder, fence=lease.fence if lease else 0, patience_s=patience_s)


def lease_holder(lake: Lake, model: str) -> Lease | None:
    """The lease of the run that may train the model now."""
    return lake.leases.holder(_name(model))


@contextlib.contextmanager
def holding_lease(lake: Lake, claim: Claim) -> Iterator[Heartbeat]:
    """Do the work of a stage under the run's lease. An interrupt by a person releases the lease; a stage that fails
    keeps it, because it may be tried again. Raises ``LeaseLost`` where another run has it, at the start or by the end.
    """
    heartbeat = Heartbeat(lake, lake.leases.resume(_name(claim.model), claim.holder, claim.fence, LEASE_S))
    try:
        yield heartbeat
    except KeyboardInterrupt:
        lake.leases.release(heartbeat.stop())
        raise
    except Exception:
        with contextlib.suppress(LeaseLost):  # the first error is the one to report
            _leave(lake, heartbeat, claim)
        raise
    heartbeat.check()
    _leave(lake, heartbeat, claim)


def _leave(lake: Lake, heartbeat: Heartbeat, claim: Claim) -> None:
    """Extend the lease until the run's next stage, or the next attempt, has a pod. Raises ``LeaseLost``."""
    lease = heartbeat.stop()
    lake.leases.resume(lease.name, claim.holder, claim.fence, claim.patience_s)


def release(lake: Lake, model: str, holder: str) -> None:
    """Release the lease for the next run; nothing happens if another run holds it."""
    lease = lease_holder(lake, model)
    if lease and lease.holder == holder:
        lake.leases.release(lease)


def fenced(lake: Lake, claim: Claim) -> Lake:
    """The lake for a run with this claim: its entries in the model's chain carry the lease's number."""
    return lake.under(model_chain(claim.model), claim.fence) if claim.granted else lake


def _name(model: str) -> str:
    return f"training/{model}"
