"""The canary's evidence: what both arms of a rollout served and how it was received, from pinned versions of the lake.

Whatever the gateways have drained is brought in first, so a look sees all that there is. A look reads versions, writes
nothing and says which versions it read: anybody can look again at the same while their snapshots are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.engine import connect
from lake.contracts import contract
from lake.inbox import collect_all
from lake.lake import Lake
from lake.versions import TableVersion
from models.records import from_plain
from models.state import chain
from models.types import Outcome
from serving.analysis import ShadowCounts
from serving.canary import Exposure
from serving.canary_rule import CanaryRule, Metric
from serving.evidence import Evidence
from serving.harm import ShadowEvidence
from serving.plan import passing

PREDICTIONS, FEEDBACK = "processed.model_predictions", "processed.agent_feedback"
SOURCES = {"predictions": PREDICTIONS, "feedback": FEEDBACK}
"""Where the gateways' rows come from, and whose they are."""

_JOINED = """
    SELECT p.timestamp AS time, p.unit, p.arm = 'candidate' AS candidate, p.failed, p.latency_ms, p.agent_name,
           p.model_version, f.down
    FROM predictions AS p LEFT JOIN (
        SELECT interaction_id, arg_max(value, timestamp) = 0 AS down FROM feedback GROUP BY interaction_id
    ) AS f USING (interaction_id)
    ORDER BY p.timestamp, p.interaction_id
"""
_COLUMNS = ("interaction_id", "timestamp", "unit", "arm", "failed", "latency_ms", "agent_name", "model_version")


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What the two arms served since the rollout met its first user."""

    rows: pa.Table
    """A request a row, in order of time: time (UTC), unit, candidate, failed, latency_ms, agent_name, model_version,
    down (whether its last rating is a thumbs down; null where nobody rated it)."""
    read: tuple[str, ...]
    """The versions it was read from."""

    def exposure(self, since: datetime) -> Exposure:
        """How much the candidate has answered from ``since`` on; an outage shows nothing of it."""
        sql = "SELECT count(*), count(DISTINCT unit) FROM served WHERE candidate AND NOT failed AND time >= ?"
        with connect() as engine:
            engine.register("served", self.rows)
            requests, users = engine.execute(sql, [since]).fetchall()[0]
        return Exposure(requests=requests, users=users)

    def counted(self, rule: CanaryRule, widened: Sequence[datetime]) -> dict[Metric, Evidence]:
        """The rows of each metric.

        Args:
            rule: says what is slow.
            widened: when each share after the first took effect.
        """
        rated = self.rows.filter(pc.is_valid(self.rows["down"]))
        slow = pc.greater(self.rows["latency_ms"], rule.slo_ms)
        return {
            Metric.ERROR: _evidence(self.rows, self.rows["failed"], widened),
            Metric.SLOW: _evidence(self.rows, slow, widened),
            Metric.THUMBS_DOWN: _evidence(rated, rated["down"], widened),
        }


def _evidence(rows: pa.Table, bad: pa.ChunkedArray, widened: Sequence[datetime]) -> Evidence:
    return Evidence(
        time=_microseconds(rows["time"]),
        unit=rows["unit"].to_numpy(zero_copy_only=False),
        candidate=rows["candidate"].to_numpy(zero_copy_only=False),
        bad=bad.to_numpy(zero_copy_only=False).astype(bool),
        widened=[int(instant) for instant in _microseconds(pa.array(widened, pa.timestamp("us", tz="UTC")))],
    )


def _microseconds(times: "pa.Array | pa.ChunkedArray") -> np.ndarray:
    return np.asarray(times.cast(pa.int64()))


def gather(lake: Lake, rollout: str, since: datetime) -> Served:
    """All requests that a rollout's arms have served, with their ratings.

    Args:
        lake: where the tables are.
        rollout: the rollout's key.
        since: when it met its first user (UTC); nothing before it is read.
    """
    for source, name in SOURCES.items():
        collect_all(lake, contract(name), source)
    after = f"timestamp >= '{since.isoformat()}'"
    predictions, read_predictions = _rows(lake, PREDICTIONS, _COLUMNS, f"{after} and rollout == '{rollout}'")
    feedback, read_feedback = _rows(lake, FEEDBACK, ("interaction_id", "timestamp", "value"), after)
    with connect() as engine:
        engine.register("predictions", predictions)
        engine.register("feedback", feedback)
        rows = engine.sql(_JOINED).to_arrow_table()
    return Served(rows=rows, read=tuple(str(version) for version in (read_predictions, read_feedback) if version))


def _rows(lake: Lake, name: str, columns: tuple[str, ...], where: str) -> tuple[pa.Table, TableVersion | None]:
    version = lake.tables.current(contract(name))
    if version:
        return lake.tables.read(version, columns=columns, where=where), version
    schema = contract(name).arrow_schema
    return pa.schema([schema.field(column) for column in columns]).empty_table(), None


def widenings(lake: Lake, model: str, rollout: str) -> list[datetime]:
    """When each share after the first took effect; the watch after a promotion has the last one."""
    entries = [one for one in lake.ledger.entries(chain(model)) if one.payload.get("rollout") == rollout]
    return [one.time for one in entries if one.kind in ("canary_widened", Outcome.PROMOTED.value)][1:]


def shadow_of(lake: Lake, model: str, rollout: str) -> ShadowCounts | None:
    """The answers that a rollout's shadow has compared in pairs."""
    passed = lake.ledger.find(chain(model), passing(rollout))
    if passed is None:
        return None
    events = from_plain(ShadowEvidence, passed.payload["evidence"]).generation
    return ShadowCounts(pairs=events.pairs, candidate_only=events.candidate_only, baseline_only=events.baseline_only)
