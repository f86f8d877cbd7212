"""Run the triggers on simulated traffic, check by check, on a clock that is set: their decisions and trainings.

The rules decide through ``models.triggers.decisions.decide``, over the real ledger and the real leases. A training
takes some hours, holds the model's lease and writes the entries of a retraining; some fail.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.simulation.history import SimulatedHistory
from benchmarks.simulation.store import MemoryStore
from benchmarks.simulation.world import Traffic, instant, seconds
from lake.lake import Lake, open_lake
from lake.store.leases import Leases
from lake.store.ledger import Ledger
from lake.tables.versions import TableVersion
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.training_lease import Claim, claim, fenced
from models.retraining.outcome import RunEnd, close, record_failure
from models.retraining.pin import Pinned
from models.serialize import to_plain
from models.triggers.decisions import Decision, decide
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, RetryBackoff, Rule, ScheduleRule, VolumeRule
from models.types import Outcome, Verdict
from settings import read_settings

MODEL, TABLE = "agents", "processed.agent_interactions"
HOUR = timedelta(hours=1)
LAG = timedelta(minutes=10)
"""From the end of a window to the check."""
LEASE_S = 7200.0
ALL_RULES: tuple[Rule, ...] = (ScheduleRule(), VolumeRule(), ErrorRateRule(), DriftRule(), FeedbackRule())
NEVER = ScheduleRule(days=10_000)
"""Trains once, at the start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check of a trigger and its decision."""

    day: float
    decision: Decision
    since_day: float | None
    """Data cut of the training with which it compares."""
    delay_days: float | None
    """Of a check of the error rate: the predicted days to detect a doubled rate."""


@dataclass
class Play:
    """One run of the triggers on simulated traffic."""

    traffic: Traffic
    rules: Sequence[Rule] = ALL_RULES
    training_hours: int = 5
    fails: Callable[[int], bool] = lambda number: False
    """Whether the training for this request fails."""
    patience: RetryBackoff = field(default_factory=RetryBackoff)
    checks: list[Check] = field(default_factory=list)
    now: datetime = field(default_factory=lambda: instant(0))
    lake: Lake = field(init=False)
    _running: tuple[Claim, Pinned, Decision, datetime] | None = None

    def __post_init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            bare = open_lake(read_settings(home=Path(folder), lake="simulated", cache=Path(folder)))
        store, clock = MemoryStore(), lambda: self.now
        self.lake = replace(bare, store=store, ledger=Ledger(store, clock), leases=Leases(store, clock))
        self.history = SimulatedHistory(self.traffic, clock)

    def run(self, first_day: float, last_day: float, *, report: Callable[[float], None] = lambda day: None) -> "Play":
        """Check every hour from one day to another; all triggers of an hour check in the same second."""
        end = instant(round(first_day * 24) * 3600)
        while end <= instant(last_day * 86_400):
            self.now = end + LAG
            self._advance_training()
            for decision in [self._check(rule, end) for rule in self.rules]:
                if decision.outcome == "started":
                    self._start(decision)
            if end.hour == 0:
                report(seconds(end) / 86_400)
            end += HOUR
        return self

    def _check(self, rule: Rule, end: datetime) -> Decision:
        decision = decide(self.lake, self.history, MODEL, rule, end=end, every=HOUR, patience=self.patience)
        entry = self.lake.ledger.find(f"triggers/{MODEL}/{decision.trigger}", decision.key)
        assert entry is not None
        since = entry.payload["since"]
        sight = entry.payload["evidence"].get("sight")
        self.checks.append(
            Check(
                day=seconds(end) / 86_400,
                decision=decision,
                since_day=seconds(datetime.fromisoformat(since)) / 86_400 if since else None,
                delay_days=sight["days_to_doubled"] if sight else None,
            )
        )
        return decision

    def _start(self, decision: Decision) -> None:
        """Claim the model, pin its inputs and start the training; end a request that another run covers."""
        request = read_state(self.lake.ledger, MODEL).request
        assert request is not None, "the decision has just created it"
        held = claim(self.lake, MODEL, request.run, patience_s=LEASE_S)
        if not held.granted or self._running:
            payload = {"request": decision.request, "outcome": Outcome.COVERED.value, "reason": "another run"}
            self.lake.ledger.append(model_chain(MODEL), "request_ended", f"request-ended:{decision.request}", payload)
            return
        now_s = seconds(self.now)
        landed = self.traffic.landed <= now_s
        version = TableVersion(table=TABLE, snapshot_id=int(now_s), rows=int(landed.sum()))
        pinned = Pinned(
            model=MODEL,
            retraining=f"{decision.request:032x}",
            interactions=version,
            user_features=replace(version, table="ml.user_features"),
            agent_features=replace(version, table="ml.agent_features"),
            feedback=[],
            cut=instant(int(self.traffic.at[landed].max()) + 1),
            baseline="base",
            cause=request.cause,
        )
        key = f"retraining:{pinned.retraining}"
        fenced(self.lake, held).ledger.append(model_chain(MODEL), "retraining_opened", key, to_plain(pinned))
        self._running = held, pinned, decision, self.now + self.training_hours * HOUR

    def _advance_training(self) -> None:
        """Renew the lease of the running training, or finish the training."""
        if self._running is None:
            return
        held, pinned, decision, ends = self._running
        if self.now < ends:
            claim(self.lake, MODEL, held.holder, patience_s=LEASE_S)
            return
        self._running = None
        lake = fenced(self.lake, held)
        if self.fails(decision.request):
            record_failure(lake, MODEL, pinned.cause, RunEnd(stage="train"), execution=held.holder)
            return
        fields: dict[str, object] = {"training_key": pinned.retraining, "training_set_id": pinned.retraining}
        fields |= {"cut": pinned.cut.isoformat(), "inputs": [str(pinned.interactions)]}
        fields |= {"retraining": pinned.retraining, "cause": to_plain(pinned.cause)}
        lake.ledger.append(model_chain(MODEL), "trained", f"trained:{pinned.retraining}", fields)
        reason = "Simulated: nothing is judged."
        verdict = Verdict(model=MODEL, outcome=Outcome.NOT_REGISTERED, version=0, reason=reason, entry="")
        close(lake, pinned, verdict, held)
