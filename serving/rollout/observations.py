"""The canary's evidence: what both arms of a rollout served and how users rated it, from pinned versions of the lake.

It only reads. A step collects the gateways' inbox first (``serving.rollout.rollout``), so its evidence is complete. The
versions that were read are named, so anybody can repeat an analysis while their snapshots are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from errors import DataError
from lake.contracts import contract
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.engine import connect
from lake.tables.versions import TableVersion
from models.registry import kinds
from models.registry.kinds import model_chain
from models.serialize import from_plain
from models.types import ModelVersion
from serving.policy import CanaryRule, Metric
from serving.rollout.plan import shadow_key
from serving.rollout.state_machine import MIN_MISSED_CALLS, Exposure, MissedCalls
from serving.statistics.sequential_test import Analysis, ShadowCounts, analyse
from serving.statistics.shadow_test import ShadowEvidence
from serving.statistics.strata import Evidence

PREDICTIONS, FEEDBACK = "processed.model_predictions", "processed.agent_feedback"

_COLUMNS = ("interaction_id", "timestamp", "unit", "arm", "failed", "latency_ms", "agent_name", "model_version")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observations:
    """What the two arms served since the rollout had its first user."""

    rows: pa.Table
    """A request a row, in order of time: time (UTC), unit, candidate, failed, latency_ms, agent_name, model_version,
    down (whether its last rating is negative; null where it was not rated)."""
    table_versions: tuple[str, ...]
    """The versions of the tables that were read."""
    steps: tuple[tuple[datetime, float], ...]
    """When each share took effect, and the share; the watch after a promotion has the last one."""
    calls: pa.Table
    """Every recorded call of the two arms, and the candidate's calls that reached no version."""
    adapter: str
    """The candidate's name in serving."""
    shadow: ShadowCounts | None
    """The answers that the rollout's shadow compared in pairs."""

    def analyse(self, rule: CanaryRule) -> Analysis:
        """Test every metric on all rows so far."""
        return analyse(self.evidence(rule), rule, self.shadow)

    def missed_calls(self, rule: CanaryRule) -> MissedCalls:
        """How many of the candidate's last calls have not reached it.

        The last calls are ``2 * MIN_MISSED_CALLS``, or those of twice ``missing_minutes``, whichever are more.
        """
        window = {"seconds": 120 * rule.missing_minutes, "least": 2 * MIN_MISSED_CALLS, "adapter": self.adapter}
        with connect() as engine:
            engine.register("predictions", self.calls)
            missed, calls, minutes = engine.execute(read_sql("missed_calls"), window).fetchone() or (0, 0, 0.0)
        return MissedCalls(calls=missed, of=calls, minutes=minutes)

    def exposure(self, since: datetime) -> Exposure:
        """How much the candidate has answered from ``since`` on; failed calls do not count."""
        answered = self.rows.filter(pc.field("candidate") & ~pc.field("failed") & (pc.field("time") >= since))
        return Exposure(requests=answered.num_rows, users=pc.count_distinct(answered["unit"]).as_py())

    def evidence(self, rule: CanaryRule) -> dict[Metric, Evidence]:
        """The rows of each metric; ``rule`` defines what is slow."""
        rated = self.rows.filter(pc.is_valid(self.rows["down"]))
        slow = pc.greater(self.rows["latency_ms"], rule.slo_ms)
        return {
            Metric.ERROR: self._evidence(self.rows, self.rows["failed"]),
            Metric.SLOW: self._evidence(self.rows, slow),
            Metric.THUMBS_DOWN: self._evidence(rated, rated["down"]),
        }

    def _evidence(self, rows: pa.Table, bad: pa.ChunkedArray) -> Evidence:
        widened = pa.array([time for time, _ in self.steps[1:]], pa.timestamp("us", tz="UTC"))
        units = rows["unit"].combine_chunks().dictionary_encode()  # sorting 100,000 pseudonyms would take a second
        return Evidence(
            time=_microseconds(rows["time"]),
            unit=units.indices.to_numpy().astype(np.int64),
            candidate=rows["candidate"].to_numpy(zero_copy_only=False),
            bad=bad.to_numpy(zero_copy_only=False).astype(bool),
            widened=[int(instant) for instant in _microseconds(widened)],
        )


def _microseconds(times: "pa.Array | pa.ChunkedArray") -> np.ndarray:
    return np.asarray(times.cast(pa.int64()))


def observe(lake: Lake, version: ModelVersion, rollout: str) -> Observations:
    """Read all requests that a rollout's arms have served since its first user, with their ratings.

    ``version`` is the candidate or the promoted version, ``rollout`` a key. Raises ``DataError`` before the first user.
    """
    adapter, entries = version.adapter_name, lake.ledger.entries(model_chain(version.model))
    steps = _steps(entries, rollout)
    after = f"timestamp >= '{steps[0][0].isoformat()}'"
    belongs = f"(rollout == '{rollout}' or (model_version == '{adapter}' and failed == true))"
    predictions, read_predictions = read_rows(lake, PREDICTIONS, _COLUMNS, f"{after} and {belongs}")
    feedback, read_feedback = read_rows(lake, FEEDBACK, ("interaction_id", "timestamp", "value"), after)
    times, shares = zip(*steps, strict=True)
    with connect() as engine:
        engine.register("predictions", predictions)
        engine.register("feedback", feedback)
        engine.register("steps", pa.table({"time": pa.array(times, pa.timestamp("us", tz="UTC")), "share": shares}))
        rows = engine.sql(read_sql("compared_rows"), params={"adapter": adapter}).to_arrow_table()
    return Observations(
        rows=rows,
        table_versions=tuple(str(read) for read in (read_predictions, read_feedback) if read),
        steps=steps,
        calls=predictions,
        adapter=adapter,
        shadow=_shadow_counts(entries, rollout),
    )


def _steps(entries: Sequence[Entry], rollout: str) -> tuple[tuple[datetime, float], ...]:
    """When each share took effect, and the share."""
    own = [entry for entry in entries if entry.payload.get("rollout") == rollout]
    widened = [(entry.time, float(entry.payload["share"])) for entry in own if entry.kind == kinds.CANARY_WIDENED]
    promoted = [
        (entry.time, float(entry.payload["soak"]["share"]))
        for entry in own
        if entry.kind == kinds.PROMOTED and entry.payload.get("soak")
    ]
    if not widened:
        raise DataError(f"the candidate of {rollout!r} has had no user yet; evidence begins with its first step")
    return (*widened, *promoted)


def _shadow_counts(entries: Sequence[Entry], rollout: str) -> ShadowCounts | None:
    """The answers that a rollout's shadow compared in pairs; None where it has not passed one."""
    passed = next((entry for entry in entries if entry.key == shadow_key(rollout)), None)
    if passed is None:
        return None
    events = from_plain(ShadowEvidence, passed.payload["evidence"]).generation
    return ShadowCounts(pairs=events.pairs, candidate_only=events.candidate_only, baseline_only=events.baseline_only)


def read_sql(name: str) -> str:
    """A query of this package, from the file ``<name>.sql``."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text()


def read_rows(lake: Lake, name: str, columns: tuple[str, ...], where: str) -> tuple[pa.Table, TableVersion | None]:
    """Rows of the current version of a table, and that version; none of a table that nobody has written."""
    version = lake.tables.current(contract(name))
    if version:
        return lake.tables.read(version, columns=columns, where=where), version
    schema = contract(name).arrow_schema
    return pa.schema([schema.field(column) for column in columns]).empty_table(), None
