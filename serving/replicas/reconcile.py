"""The reconciler: brings every replica to what the ledger says, again and again, and remembers nothing that matters.

    fuelline serve reconcile [--every 2] [--once] [--dry-run] [--ready-file FILE]

It runs as a sidecar of each replica, or once for all that share a disk. What is wanted is read from the ledger each
time (``serving.replicas.desired``), so a replica that restarted empty gets back what it needs, whoever restarted it.

Routing changes first, unloading last: a name is unloaded only when no state of the last minutes wanted it, because a
gateway may still hold an older route and an answer may still be under way. Each adapter passes the load gate
(``serving.replicas.load_gate``) before it stays, and one that fails is unloaded, so that a request for it fails loudly.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from errors import FuellineError, SettingsError, TamperedArtifact
from lake.lake import Lake
from models.types import ModelVersion
from serving.replicas.adapter_files import place
from serving.replicas.desired import GRACE, Wanted, plan, read_wanted
from serving.replicas.load_gate import Proof, prove
from serving.replicas.vllm import Replica, Served
from settings import Settings

log = logging.getLogger("fuelline.reconcile")

SLOWEST_S = 15.0
"""Seconds between two looks at a replica that fails, at most."""


@dataclass(kw_only=True)
class Report:
    """What one round did."""

    loaded: list[str] = field(default_factory=list)
    """``agents@3f9c2a71 on http://vllm-0:8000``; of a dry run, what it would have loaded."""
    unloaded: list[str] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    """What went wrong, by the replica's address."""
    ready: set[str] = field(default_factory=set)
    """Addresses of the replicas on which everything that answers users is proven; or refused, which waiting mends no
    more, and other models' users are not to pay for."""


def reconcile(
    lake: Lake,
    replicas: Sequence[Replica],
    folder: Path,
    *,
    grace: timedelta = GRACE,
    dry_run: bool = False,
    proven: set[tuple[str, str]] | None = None,
) -> Report:
    """One round over these replicas. One that fails stops no other.

    Args:
        lake: its ledger says what is wanted; its registry has the files.
        replicas: what shall serve it.
        folder: where adapters are put, by the same path here and for the replicas.
        grace: see ``GRACE``.
        dry_run: change nothing, and say what would be.
        proven: address and name of what has passed the gate already, kept up to date; None: prove everything.

    Raises:
        PeerError: the store does not answer.
    """
    wanted, report = read_wanted(lake, grace), Report()
    for replica in replicas:
        round_ = _Round(lake, replica, folder.absolute(), wanted, report, set() if proven is None else proven)
        try:
            round_.run(dry_run)
        except (FuellineError, OSError) as error:
            round_.fault(str(error))
    return report


@dataclass(frozen=True, slots=True)
class _Round:
    """One replica's part of a round."""

    lake: Lake
    replica: Replica
    folder: Path
    wanted: Wanted
    report: Report
    proven: set[tuple[str, str]]

    def run(self, dry_run: bool) -> None:
        """Load, prove, unload."""
        serves = self.replica.adapters()
        todo = plan(self.wanted, serves)
        if dry_run:
            self.report.loaded += [self._at(version.adapter_name) for version in todo.loads]
            self.report.unloaded += [self._at(name) for name in todo.unloads]
            return
        self.proven.difference_update((self.replica.address, version.adapter_name) for version in todo.loads)
        judged = set[str]()
        for name, version in self.wanted.now.items():
            try:
                self._bring(version, serves.get(name))
                judged.add(name)
            except TamperedArtifact as error:
                judged.add(name)
                self.fault(str(error))
            except (FuellineError, OSError) as error:
                self.fault(str(error))
        if judged.issuperset(self.wanted.answering):
            self.report.ready.add(self.replica.address)
        for name in todo.unloads:
            self.replica.unload(name)
            self.report.unloaded.append(self._at(name))

    def _bring(self, version: ModelVersion, served: Served | None) -> None:
        """Have one adapter served and proven."""
        key = (self.replica.address, version.adapter_name)
        if key in self.proven:
            return
        path = str(place(self.lake, version, self.folder))
        self.replica.load(version.adapter_name, path)
        if served is None:
            self.report.loaded.append(self._at(version.adapter_name))
        proof = prove(self.lake, self.replica, version)
        self.report.proofs.append(proof)
        if proof.passed:
            self.proven.add(key)
        else:
            self.replica.unload(version.adapter_name)
            self.fault(f"{version.name} did not pass the load gate and is unloaded: {proof.reason}")

    def _at(self, name: str) -> str:
        return f"{name} on {self.replica.address}"

    def fault(self, what: str) -> None:
        """Note what went wrong."""
        self.report.faults.setdefault(self.replica.address, []).append(what)


@dataclass(kw_only=True)
class Loop:
    """Rounds until it is told to stop; a replica that fails is looked at less and less often."""

    lake: Lake
    replicas: Sequence[Replica]
    folder: Path
    every_s: float
    ready_file: Path | None = None
    """Is there while every replica serves what answers users; a pod's readiness looks at it."""
    stopped: threading.Event = field(default_factory=threading.Event)
    _proven: set[tuple[str, str]] = field(default_factory=set)
    _ready: set[str] = field(default_factory=set)
    _failures: dict[str, int] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Round after round; neither a dead vLLM nor a dead store ends it."""
        if self.ready_file:
            self.ready_file.unlink(missing_ok=True)  # of a process before this one
        while not self.stopped.is_set():
            now = time.monotonic()
            due = [one for one in self.replicas if self._due.get(one.address, 0.0) <= now]
            try:
                report = reconcile(self.lake, due, self.folder, proven=self._proven)
            except (FuellineError, OSError) as error:  # of the store: what was ready stays so
                report = Report(faults={one.address: [str(error)] for one in due}, ready=set(self._ready))
            tell(report)
            self._show_ready(due, report)
            for one in due:
                self._set_pace(one.address, failed=one.address in report.faults)
            self.stopped.wait(self.every_s)

    def _show_ready(self, looked_at: Sequence[Replica], report: Report) -> None:
        self._ready = self._ready - {one.address for one in looked_at} | report.ready
        if self.ready_file is None:
            return
        if self._ready >= {one.address for one in self.replicas}:
            self.ready_file.touch()
        else:
            self.ready_file.unlink(missing_ok=True)

    def _set_pace(self, address: str, *, failed: bool) -> None:
        before = self._failures.get(address, 0)
        self._failures[address] = before + 1 if failed else 0
        pause = min(self.every_s * 2 ** min(before, 16), SLOWEST_S) if failed else 0.0
        self._due[address] = time.monotonic() + pause


def tell(report: Report) -> None:
    """What a round did, in the log; nothing where nothing was to do."""
    for what in report.loaded:
        log.info("loaded %s", what)
    for proof in report.proofs:
        log.info("%s", proof)
    for what in report.unloaded:
        log.info("unloaded %s", what)
    for address, faults in report.faults.items():
        for fault in faults:
            log.warning("%s: %s", address, fault)


def replicas_of(chosen: Settings) -> list[Replica]:
    """The replicas that this process looks after.

    Raises:
        SettingsError: they, or the folder of the adapters, are not set.
    """
    if not chosen.vllm_replicas or not chosen.adapters:
        raise SettingsError(
            "FUELLINE_VLLM and FUELLINE_ADAPTERS must be set: the replicas, and the folder that this process writes "
            "and they read by the same path. Example: FUELLINE_VLLM=http://localhost:8000, FUELLINE_ADAPTERS=/adapters"
        )
    return [Replica(address) for address in chosen.vllm_replicas]
