"""The canary's evidence: what both arms of a rollout served and how it was received, from pinned versions of the lake.

Whatever the gateways have drained is brought in first, so a look sees all that there is. A look reads versions, writes
nothing and says which versions it read: anybody can look again at the same while their snapshots are kept.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from errors import DataError
from lake.contracts import contract
from lake.lake import Lake
from lake.sources.inbox import collect_all
from lake.tables.engine import connect
from lake.tables.versions import TableVersion
from models.registry.kinds import model_chain
from models.serialize import from_plain
from models.types import ModelVersion, Outcome
from serving.policy import CanaryRule, Metric
from serving.rollout.plan import passing
from serving.rollout.state_machine import MISSED_LEAST, Exposure, Missed
from serving.statistics.sequential_test import ShadowCounts
from serving.statistics.shadow_test import ShadowEvidence
from serving.statistics.strata import Evidence

PREDICTIONS, FEEDBACK = "processed.model_predictions", "processed.agent_feedback"
SOURCES = {"predictions": PREDICTIONS, "feedback": FEEDBACK}
"""Where the gateways' rows come from, and whose they are."""

_JOINED = """
    SELECT p.timestamp AS time, p.unit, p.arm = 'candidate' AS candidate, p.failed, p.latency_ms, p.agent_name,
           p.model_version, f.down
    FROM predictions AS p ASOF JOIN steps AS s ON p.timestamp >= s.time LEFT JOIN (
        SELECT interaction_id, arg_max(value, timestamp) = 0 AS down FROM feedback GROUP BY interaction_id
    ) AS f USING (interaction_id)
    WHERE (('0x' || left(p.unit, 16))::UBIGINT < s.share * 18446744073709551616) = (p.arm = 'candidate')
      AND (p.model_version = $adapter) = (p.arm = 'candidate')
    ORDER BY p.timestamp, p.interaction_id
"""
"""Only who stood on the side that the ledger says: for a second or so after a step, longer where the store cannot be
reached, a gateway still follows the share before, and nobody knows of which users that is so. ``serving.routing.split``
has the places. And on the candidate's side only what it says it answered itself, on the other nothing that it did.
"""
_MISSED = """
    WITH calls AS (
        SELECT timestamp, arm IS NULL OR model_version <> $adapter AS missed FROM predictions
        WHERE CASE WHEN arm IS NULL THEN failed ELSE arm = 'candidate' END
    ), edge AS (
        SELECT least(
            (SELECT max(timestamp) - to_seconds($seconds) FROM calls),
            (SELECT min(timestamp) FROM (SELECT timestamp FROM calls ORDER BY timestamp DESC LIMIT $least))
        ) AS since
    ), lately AS (
        SELECT count(*) FILTER (missed) AS missed, count(*) AS calls,
               min(timestamp) FILTER (missed) AS first, max(timestamp) FILTER (missed) AS last
        FROM calls, edge WHERE timestamp >= since
    )
    SELECT missed, calls, date_diff('second', first, last) / 60 FROM lately
    WHERE EXISTS (FROM predictions WHERE arm = 'stable' AND NOT failed AND timestamp BETWEEN first AND last)
"""
"""A call that found the version loaded nowhere is on record without an arm: it says nothing about its answers."""
_COLUMNS = ("interaction_id", "timestamp", "unit", "arm", "failed", "latency_ms", "agent_name", "model_version")


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What the two arms served since the rollout met its first user."""

    rows: pa.Table
    """A request a row, in order of time: time (UTC), unit, candidate, failed, latency_ms, agent_name, model_version,
    down (whether its last rating is a thumbs down; null where nobody rated it)."""
    read: tuple[str, ...]
    """The versions it was read from."""
    steps: tuple[tuple[datetime, float], ...]
    """When each share took effect, and the share; the watch after a promotion has the last one."""
    predictions: pa.Table
    """Everything on record of the two arms, and the candidate's calls that reached no version."""
    adapter: str
    """The candidate's name in serving."""

    def missed(self, rule: CanaryRule) -> Missed:
        """How many of the candidate's last calls have not reached it: of ``MISSED_LEAST`` twice over, or of twice the
        minutes that ``rule`` bears with, whichever is more.
        """
        window = {"seconds": 120 * rule.missing_minutes, "least": 2 * MISSED_LEAST, "adapter": self.adapter}
        with connect() as engine:
            engine.register("predictions", self.predictions)
            calls, of, minutes = engine.execute(_MISSED, window).fetchone() or (0, 0, 0.0)
        return Missed(calls=calls, of=of, minutes=minutes)

    def exposure(self, since: datetime) -> Exposure:
        """How much the candidate has answered from ``since`` on; an outage shows nothing of it."""
        sql = "SELECT count(*), count(DISTINCT unit) FROM served WHERE candidate AND NOT failed AND time >= ?"
        with connect() as engine:
            engine.register("served", self.rows)
            requests, users = engine.execute(sql, [since]).fetchall()[0]
        return Exposure(requests=requests, users=users)

    def counted(self, rule: CanaryRule) -> dict[Metric, Evidence]:
        """The rows of each metric; ``rule`` says what is slow."""
        rated = self.rows.filter(pc.is_valid(self.rows["down"]))
        slow = pc.greater(self.rows["latency_ms"], rule.slo_ms)
        return {
            Metric.ERROR: self._evidence(self.rows, self.rows["failed"]),
            Metric.SLOW: self._evidence(self.rows, slow),
            Metric.THUMBS_DOWN: self._evidence(rated, rated["down"]),
        }

    def _evidence(self, rows: pa.Table, bad: pa.ChunkedArray) -> Evidence:
        widened = pa.array([time for time, _ in self.steps[1:]], pa.timestamp("us", tz="UTC"))
        return Evidence(
            time=_microseconds(rows["time"]),
            unit=rows["unit"].to_numpy(zero_copy_only=False),
            candidate=rows["candidate"].to_numpy(zero_copy_only=False),
            bad=bad.to_numpy(zero_copy_only=False).astype(bool),
            widened=[int(instant) for instant in _microseconds(widened)],
        )


def _microseconds(times: "pa.Array | pa.ChunkedArray") -> np.ndarray:
    return np.asarray(times.cast(pa.int64()))


def gather(lake: Lake, version: ModelVersion, rollout: str) -> Served:
    """All requests that a rollout's arms have served since it met its first user, with their ratings.

    Args:
        lake: where the tables are.
        version: the candidate, or what became of it.
        rollout: the rollout's key.

    Raises:
        DataError: it has met no user yet.
    """
    steps, adapter = _steps(lake, version.model, rollout), version.adapter_name
    for source, name in SOURCES.items():
        collect_all(lake, contract(name), source)
    after = f"timestamp >= '{steps[0][0].isoformat()}'"
    its = f"(rollout == '{rollout}' or (model_version == '{adapter}' and failed == true))"
    predictions, read_predictions = _rows(lake, PREDICTIONS, _COLUMNS, f"{after} and {its}")
    feedback, read_feedback = _rows(lake, FEEDBACK, ("interaction_id", "timestamp", "value"), after)
    times, shares = zip(*steps, strict=True)
    with connect() as engine:
        engine.register("predictions", predictions)
        engine.register("feedback", feedback)
        engine.register("steps", pa.table({"time": pa.array(times, pa.timestamp("us", tz="UTC")), "share": shares}))
        rows = engine.sql(_JOINED, params={"adapter": adapter}).to_arrow_table()
    read = tuple(str(version) for version in (read_predictions, read_feedback) if version)
    return Served(rows=rows, read=read, steps=steps, predictions=predictions, adapter=adapter)


def _steps(lake: Lake, model: str, rollout: str) -> tuple[tuple[datetime, float], ...]:
    """When each share took effect, and the share."""
    own = [one for one in lake.ledger.entries(model_chain(model)) if one.payload.get("rollout") == rollout]
    widened = [(one.time, float(one.payload["share"])) for one in own if one.kind == "canary_widened"]
    promoted = [
        (one.time, float(one.payload["soak"]["share"]))
        for one in own
        if one.kind == Outcome.PROMOTED.value and one.payload.get("soak")
    ]
    if not widened:
        raise DataError(f"no user has met the candidate of {rollout!r} yet")
    return (*widened, *promoted)


def _rows(lake: Lake, name: str, columns: tuple[str, ...], where: str) -> tuple[pa.Table, TableVersion | None]:
    version = lake.tables.current(contract(name))
    if version:
        return lake.tables.read(version, columns=columns, where=where), version
    schema = contract(name).arrow_schema
    return pa.schema([schema.field(column) for column in columns]).empty_table(), None


def shadow_of(lake: Lake, model: str, rollout: str) -> ShadowCounts | None:
    """The answers that a rollout's shadow has compared in pairs."""
    passed = lake.ledger.find(model_chain(model), passing(rollout))
    if passed is None:
        return None
    events = from_plain(ShadowEvidence, passed.payload["evidence"]).generation
    return ShadowCounts(pairs=events.pairs, candidate_only=events.candidate_only, baseline_only=events.baseline_only)
