"""The reconciler: repeatedly brings every replica to the state that the ledger describes. It keeps no essential state.

It runs as a sidecar of each replica, or once for all replicas that share a disk. Each round reads the desired state
from the ledger (``serving.replicas.desired``), so a replica that restarted empty gets its adapters back.

Routing changes first, unloading last: an adapter is unloaded only when no state of the last minutes needed it, because
a gateway may still have an older route and an answer may still be in progress. Each adapter must pass the load gate
(``serving.replicas.load_gate``); one that fails is unloaded, so that a request for it fails visibly.
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
from serving.replicas.adapter_files import ensure_adapter
from serving.replicas.desired import GRACE, DesiredState, read_desired_state
from serving.replicas.load_gate import GateResult, check_adapter
from serving.replicas.vllm import Replica
from settings import Settings

log = logging.getLogger("fuelline.reconcile")

MAX_PAUSE_S = 15.0
"""Longest pause between two attempts at a replica that fails."""


@dataclass(kw_only=True)
class ReconcileReport:
    """The result of one round."""

    loaded: list[str] = field(default_factory=list)
    """``agents@3f9c2a71 on http://vllm-0:8000``; in a dry run, what would be loaded."""
    unloaded: list[str] = field(default_factory=list)
    gate_results: list[GateResult] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Errors, by the replica's address."""
    ready: set[str] = field(default_factory=set)
    """Addresses of the replicas on which every adapter that answers users has passed, or been refused as tampered with:
    waiting does not change that, and it must not block the users of other models."""


def reconcile(
    lake: Lake,
    replicas: Sequence[Replica],
    folder: Path,
    *,
    grace: timedelta = GRACE,
    dry_run: bool = False,
    verified: set[tuple[str, str]] | None = None,
) -> ReconcileReport:
    """Run one round over these replicas. A failure of one does not stop the others.

    ``folder`` is where adapters are stored, under the same path for this process and the replicas; ``verified`` holds
    the address and name of each adapter that has passed the gate, and is updated (None: check all). A ``dry_run``
    changes nothing.
    """
    desired, report = read_desired_state(lake, grace), ReconcileReport()
    verified = set() if verified is None else verified
    for replica in replicas:
        replica_round = _ReplicaRound(lake, replica, folder.absolute(), desired, report, verified)
        try:
            replica_round.run(dry_run)
        except (FuellineError, OSError) as error:
            replica_round.record_fault(str(error))
    return report


@dataclass(frozen=True, slots=True)
class _ReplicaRound:
    """One replica's part of a round."""

    lake: Lake
    replica: Replica
    folder: Path
    desired: DesiredState
    report: ReconcileReport
    verified: set[tuple[str, str]]

    def run(self, dry_run: bool) -> None:
        """Load, check, unload."""
        loaded = self.replica.adapters()
        missing, superfluous = self.desired.missing(loaded), self.desired.superfluous(loaded)
        if dry_run:
            self.report.loaded += map(self._at, missing)
            self.report.unloaded += map(self._at, superfluous)
            return
        self.verified.difference_update((self.replica.address, name) for name in missing)
        settled = set[str]()
        for name, version in self.desired.current.items():
            try:
                self._load_and_check(version, is_loaded=name in loaded)
                settled.add(name)
            except (FuellineError, OSError) as error:
                self.record_fault(str(error))
                if isinstance(error, TamperedArtifact):
                    settled.add(name)
        if settled.issuperset(self.desired.answering):
            self.report.ready.add(self.replica.address)
        for name in superfluous:
            self.replica.unload(name)
            self.report.unloaded.append(self._at(name))

    def _load_and_check(self, version: ModelVersion, *, is_loaded: bool) -> None:
        """Load one adapter unless it is loaded, and pass it through the gate; unload it if it fails."""
        key = (self.replica.address, version.adapter_name)
        if key in self.verified:
            return
        path = str(ensure_adapter(self.lake, version, self.folder))
        self.replica.load(version.adapter_name, path)
        if not is_loaded:
            self.report.loaded.append(self._at(version.adapter_name))
        result = check_adapter(self.lake, self.replica, version)
        self.report.gate_results.append(result)
        if result.passed:
            self.verified.add(key)
        else:
            self.replica.unload(version.adapter_name)
            self.record_fault(f"{version.name} did not pass the load gate and is unloaded: {result.reason}")

    def _at(self, name: str) -> str:
        return f"{name} on {self.replica.address}"

    def record_fault(self, message: str) -> None:
        self.report.faults.setdefault(self.replica.address, []).append(message)


@dataclass(kw_only=True)
class ReconcileLoop:
    """Rounds until ``stopped`` is set; a replica that fails is tried less and less often."""

    lake: Lake
    replicas: Sequence[Replica]
    folder: Path
    every_s: float
    ready_file: Path | None = None
    """Exists while every replica is ready; a pod's readiness probe tests it."""
    stopped: threading.Event = field(default_factory=threading.Event)
    _verified: set[tuple[str, str]] = field(default_factory=set)
    _ready: set[str] = field(default_factory=set)
    _failures: dict[str, int] = field(default_factory=dict)
    _due_at: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Run rounds; neither an unavailable vLLM nor an unavailable store ends the loop."""
        if self.ready_file:
            self.ready_file.unlink(missing_ok=True)  # left by a previous process
        while not self.stopped.is_set():
            now = time.monotonic()
            due = [replica for replica in self.replicas if self._due_at.get(replica.address, 0.0) <= now]
            try:
                report = reconcile(self.lake, due, self.folder, verified=self._verified)
            except (FuellineError, OSError) as error:  # of the store: replicas that were ready stay ready
                faults = {replica.address: [str(error)] for replica in due}
                report = ReconcileReport(faults=faults, ready=set(self._ready))
            log_report(report)
            self._update_ready_file(due, report)
            for replica in due:
                self._schedule(replica.address, failed=replica.address in report.faults)
            self.stopped.wait(self.every_s)

    def _update_ready_file(self, checked: Sequence[Replica], report: ReconcileReport) -> None:
        self._ready = self._ready - {replica.address for replica in checked} | report.ready
        if self.ready_file and self._ready >= {replica.address for replica in self.replicas}:
            self.ready_file.touch()
        elif self.ready_file:
            self.ready_file.unlink(missing_ok=True)

    def _schedule(self, address: str, *, failed: bool) -> None:
        failures = self._failures.get(address, 0)
        self._failures[address] = failures + 1 if failed else 0
        pause = min(self.every_s * 2 ** min(failures, 16), MAX_PAUSE_S) if failed else 0.0
        self._due_at[address] = time.monotonic() + pause


def log_report(report: ReconcileReport) -> None:
    """Log what a round did; nothing if it changed nothing."""
    for adapter in report.loaded:
        log.info("loaded %s", adapter)
    for result in report.gate_results:
        log.info("%s", result)
    for adapter in report.unloaded:
        log.info("unloaded %s", adapter)
    for address, faults in report.faults.items():
        for fault in faults:
            log.warning("%s: %s", address, fault)


def replicas_of(settings: Settings) -> list[Replica]:
    """The replicas named in the settings. Raises ``SettingsError`` without replicas or a folder of the adapters."""
    if not settings.vllm_replicas or not settings.adapters:
        raise SettingsError(
            "FUELLINE_VLLM and FUELLINE_ADAPTERS must be set: the replicas, and the folder that this process writes "
            "and they read by the same path. Example: FUELLINE_VLLM=http://localhost:8000, FUELLINE_ADAPTERS=/adapters"
        )
    return [Replica(address) for address in settings.vllm_replicas]
