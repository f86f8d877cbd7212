"""Training sets: interactions before a data cut, with their latest ratings before it, joined with the features that
production had, and split by time.

A set consists of the rows of ``ml.training_sets`` with one id, a digest of everything that changes them. The same
inputs give the same id, and a second build writes nothing.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from errors import DataError
from features.batch import asof
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake
from lake.tables.engine import connect
from lake.tables.versions import TableVersion
from models.types import TrainingSet

log = logging.getLogger("fuelline.training_set")

VERSION = 1
"""Increase it when ``build_training_set`` makes other rows of equal inputs."""
TRAIN, TEST = "train", "test"
_INTERACTION_COLUMNS = (
    *("interaction_id", "timestamp", "agent_name", "user_id", "user_query", "response", "error", "feedback", "cluster"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Weight of an example in the loss, by its rating; a failed call has weight 0."""

    thumbs_up: float = 1.0
    """Of answers that were rated good."""
    unrated: float = 0.25
    """Most rows are unrated; they teach the form of an answer, and should not dominate the rated ones."""
    thumbs_down: float = 0.0
    """Of answers that were rated bad."""

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 0:
            raise ValueError(f"weights must not be negative: {self}")


def build_training_set(
    lake: Lake,
    *,
    model: str,
    interactions: TableVersion,
    feedback: TableVersion | None,
    user_features: TableVersion,
    agent_features: TableVersion,
    infrastructure_features: TableVersion | None = None,
    cut: datetime,
    agents: Sequence[str] = (),
    feature_service: str = "",
    test_share: float = 0.2,
    weights: Weights = Weights(),
) -> TrainingSet:
    """Join, weigh and split the interactions before ``cut`` (UTC), and write them under their id.

    Raises ``DataError`` where there are too few rows to train and test on.

    Args:
        lake: where the tables are.
        model: the model.
        interactions: pinned ``processed.agent_interactions``.
        feedback: pinned ``processed.agent_feedback``; None: the interactions' own ratings are used.
        user_features: pinned ``ml.user_features``.
        agent_features: pinned ``ml.agent_features``.
        infrastructure_features: pinned ``ml.infrastructure_features``; None: the clusters were not measured.
        cut: only interactions and ratings before it are used.
        agents: whose interactions are used; empty: all.
        feature_service: name of the service that the model reads online; part of the set's identity.
        test_share: share of the rows, the last in time, that are held out.
        weights: weight of an example by its rating.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be between 0 and 1, not {test_share}")
    features = (user_features, agent_features, infrastructure_features)
    inputs = [version for version in (interactions, feedback, *features) if version]
    set_id = _digest(model, interactions, feedback, *features, cut, agents, feature_service, test_share, weights)
    if version := lake.tables.find(TRAINING_SETS, set_id):
        return _describe(lake, model, set_id, version, inputs, cut)
    rows = _rated(lake, interactions, feedback, cut, agents)
    split_at = _split_at(rows["timestamp"], test_share, f"{interactions} before {cut.isoformat()}", agents)
    joined = asof.join_pinned(lake, rows, *features)
    finished = _finish(joined, set_id, split_at, weights)
    _check_weights(finished, interactions)
    log.info("training set %s: %d rows, split at %s", set_id[:12], finished.num_rows, split_at.isoformat())
    properties = {"fuelline.split-at": split_at.isoformat()}
    version = lake.tables.append(TRAINING_SETS, finished, key=set_id, inputs=inputs, properties=properties)
    return _describe(lake, model, set_id, version, inputs, cut)


def read_training_set(
    lake: Lake, training_set: TrainingSet, split: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows of one split (``train`` or ``test``), in order of time (ties by interaction id)."""
    if split not in (TRAIN, TEST):
        raise ValueError(f"split must be {TRAIN!r} or {TEST!r}, not {split!r}")
    where = f"training_set_id == '{training_set.training_set_id}' and split == '{split}'"
    order = ("timestamp", "interaction_id")
    needed = None if columns is None else [*columns, *(name for name in order if name not in columns)]
    rows = lake.tables.read(training_set.table, columns=needed, where=where)
    rows = rows.sort_by([(name, "ascending") for name in order])
    return rows if columns is None else rows.select(list(columns))


def _digest(*parts: object) -> str:
    """The set's id: the pinned versions, the parameters, and the versions of the code."""
    text = json.dumps([*map(_plain, parts), VERSION, asof.VERSION, TRAINING_SETS.version])
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(part: object) -> object:
    if isinstance(part, datetime):
        return part.isoformat()
    if isinstance(part, Weights):
        return asdict(part)
    if isinstance(part, TableVersion):
        return str(part)
    return sorted(part) if isinstance(part, (list, tuple)) else part


def _rated(
    lake: Lake, interactions: TableVersion, feedback: TableVersion | None, cut: datetime, agents: Sequence[str]
) -> pa.Table:
    """Interactions before the cut, each with its latest rating before the cut, or its own if there is no later one."""
    where = f"timestamp < '{cut.isoformat()}'"
    connection = connect()
    connection.register("interactions", lake.tables.read(interactions, columns=_INTERACTION_COLUMNS, where=where))
    connection.register("agents", pa.table({"agent_name": pa.array(agents, pa.string())}))
    of_agents = "SEMI JOIN agents USING (agent_name)" if agents else ""
    if feedback is None:
        return connection.sql(f"FROM interactions {of_agents}").to_arrow_table()
    connection.register("ratings", lake.tables.read(feedback, where=where))
    return connection.sql(f"""
        WITH latest AS (SELECT interaction_id, arg_max(value, (timestamp, value)) AS value FROM ratings GROUP BY ALL)
        SELECT i.* REPLACE (coalesce(latest.value, i.feedback) AS feedback)
        FROM (FROM interactions {of_agents}) AS i LEFT JOIN latest USING (interaction_id)""").to_arrow_table()


def _split_at(timestamps: pa.ChunkedArray, test_share: float, source: str, agents: Sequence[str]) -> datetime:
    """The timestamp of the first test row: all rows at it are test rows, so no instant is on both sides."""
    rows = len(timestamps)
    of_agents = f" of {', '.join(agents)}" if agents else ""
    if rows < 2:
        raise DataError(
            f"{source}: {rows} interactions{of_agents}; a training set needs at least 2, to train and to test on"
        )
    ordered = timestamps.take(pc.sort_indices(timestamps))
    split_at: datetime = ordered[min(int(rows * (1 - test_share)), rows - 1)].as_py().astimezone(UTC)
    if split_at == ordered[0].as_py():
        raise DataError(
            f"{source}: no interaction{of_agents} is before the split at {split_at.isoformat()}, so there is none to "
            f"train on; {rows} interactions are too few, or have one timestamp"
        )
    return split_at


def _finish(joined: pa.Table, set_id: str, split_at: datetime, weights: Weights) -> pa.Table:
    """The rows in the contract's schema, with id, split and weight, ordered by time."""
    connection = connect()
    connection.register("joined", joined)
    finished = connection.sql(
        f"""
        SELECT *, $set_id AS training_set_id, if(timestamp < $split_at, '{TRAIN}', '{TEST}') AS split,
            (CASE WHEN error THEN 0 WHEN feedback = 1 THEN $thumbs_up WHEN feedback = 0 THEN $thumbs_down
             ELSE $unrated END)::DOUBLE AS weight
        FROM joined ORDER BY timestamp, interaction_id""",
        params={"set_id": set_id, "split_at": split_at, **asdict(weights)},
    ).to_arrow_table()
    return finished.select(TRAINING_SETS.arrow_schema.names).cast(TRAINING_SETS.arrow_schema)


def _check_weights(rows: pa.Table, interactions: TableVersion) -> None:
    for split in (TRAIN, TEST):
        of_split = rows.filter(pc.equal(rows["split"], split))
        if not pc.any(pc.greater(of_split["weight"], 0)).as_py():
            raise DataError(
                f"{interactions}: all {of_split.num_rows} rows of the {split} split have weight 0 (failed calls, "
                "answers rated bad); wait for more interactions"
            )


def _describe(
    lake: Lake, model: str, set_id: str, version: TableVersion, inputs: list[TableVersion], cut: datetime
) -> TrainingSet:
    """The set's description, read from its rows."""
    rows = lake.tables.read(version, columns=["timestamp", "split"], where=f"training_set_id == '{set_id}'")
    test = rows.filter(pc.equal(rows["split"], TEST))
    return TrainingSet(
        model=model,
        training_set_id=set_id,
        table=version,
        inputs=inputs,
        cut=cut,
        split_at=pc.min(test["timestamp"]).as_py().astimezone(UTC),
        train_rows=rows.num_rows - test.num_rows,
        test_rows=test.num_rows,
    )
