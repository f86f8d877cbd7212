"""The right to train a model: one lease a model, which a running training renews and a dead one loses.

It belongs to a run, not to a process: the stages of one run are pods of their own, and each takes the lease up where
the one before left it. While a stage runs it renews the lease every few seconds; between two stages, where a pod may
have to wait for a GPU, the lease lasts as long as the run's patience. What the run writes to the model's chain carries
the lease's number, so that a run which lost it, and does not know, writes nothing more.
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
"""How long a stage that died keeps the lease."""
BEAT_S = 20.0
"""Between two renewals: several may fail before the lease does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A run's right to train a model, as it goes along the edges of the graph."""

    model: str
    holder: str
    """The run."""
    fence: int
    """Number of the lease; 0 where another run holds it."""
    patience_s: float = LEASE_S
    """How long the lease lasts between two stages."""

    @property
    def granted(self) -> bool:
        """Whether this run may train."""
        return self.fence > 0


class Heartbeat:
    """Renews a lease in a thread of its own; ``check`` tells the work that the lease is gone."""

    def __init__(self, lake: Lake, lease: Lease) -> None:
        self._leases = open_lake(lake.settings, clock=lake.leases.clock).leases
        self._lease = lease
        self._lost: LeaseLost | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {lease.name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises ``LeaseLost`` where another run has the lease now."""
        if self._lost:
            raise self._lost

    def stop(self) -> Lease:
        """End the thread; the lease as it was renewed last."""
        self._stop.set()
        self._thread.join()
        return self._lease

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                self._lease = self._leases.renew(self._lease)
            except LeaseLost as error:
                self._lost = error
                return
            except PeerError as error:
                log.warning("lease %s was not renewed and will be tried again: %s", self._lease.name, error)


def claim(lake: Lake, model: str, holder: str, *, patience_s: float = LEASE_S) -> Claim:
    """Ask for the right to train a model; the claim says whether it was granted.

    Args:
        lake: where the leases are.
        model: the model.
        holder: the run; the same run is granted it again under the same number.
        patience_s: how long the lease lasts between two stages, in seconds.
    """
    lease = lake.leases.acquire(_name(model), holder, patience_s)
    return Claim(model=model, holder=holder, fence=lease.fence if lease else 0, patience_s=patience_s)


def lease_holder(lake: Lake, model: str) -> Lease | None:
    """The lease of the run that may train the model now; None where no run does."""
    return lake.leases.holder(_name(model))


@contextlib.contextmanager
def holding_lease(lake: Lake, claim: Claim) -> Iterator[Heartbeat]:
    """Do a stage's work under the run's lease. A person who interrupts it gives the lease back; a stage that fails may
    be tried again, and keeps it.

    Raises:
        LeaseLost: another run has the lease, at the start or by the end.
    """
    heartbeat = Heartbeat(lake, lake.leases.resume(_name(claim.model), claim.holder, claim.fence, LEASE_S))
    try:
        yield heartbeat
    except KeyboardInterrupt:
        lake.leases.release(heartbeat.stop())
        raise
    except Exception:
        with contextlib.suppress(LeaseLost):  # what went wrong first is what is told
            _leave(lake, heartbeat, claim)
        raise
    heartbeat.check()
    _leave(lake, heartbeat, claim)


def _leave(lake: Lake, heartbeat: Heartbeat, claim: Claim) -> None:
    """Let the lease last until the run's next stage, or this one's next try, has a pod. Raises ``LeaseLost``."""
    lease = heartbeat.stop()
    lake.leases.resume(lease.name, claim.holder, claim.fence, claim.patience_s)


def release(lake: Lake, model: str, holder: str) -> None:
    """Let the next run have the lease at once; nothing happens where it is another's already."""
    held = lease_holder(lake, model)
    if held and held.holder == holder:
        lake.leases.release(held)


def fenced(lake: Lake, claim: Claim) -> Lake:
    """The lake for a run that holds the claim: what it writes to the model's chain carries the lease's number."""
    return lake.under(model_chain(claim.model), claim.fence) if claim.granted else lake


def _name(model: str) -> str:
    return f"training/{model}"
