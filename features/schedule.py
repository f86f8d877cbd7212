"""What the schedule does about features, once for the same inputs: a late or doubled fire does nothing."""

import hashlib
from datetime import datetime, timedelta

from errors import DataError
from features.compute import compute_features
from features.online import Materialization, materialize
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import Lake
from lake.versions import TableVersion

CHAIN = "sources/features"


def newest(lake: Lake, interactions: TableVersion) -> datetime:
    """Just after the newest interaction of a version (UTC). Raises ``DataError`` where it holds none."""
    import pyarrow.compute as pc

    at: datetime | None = pc.max(lake.tables.read(interactions, columns=["timestamp"])["timestamp"]).as_py()
    if at is None:
        raise DataError(f"{interactions} holds no interaction; ingest some first")
    return at + timedelta(microseconds=1)


def compute_due(lake: Lake) -> list[TableVersion]:
    """Compute every feature row that is due by the newest interaction and missing, in the order of ``VIEWS``.

    Raises:
        DataError: nothing was ingested yet.
    """
    interactions = lake.tables.current(AGENT_INTERACTIONS)
    if interactions is None:
        raise DataError(f"{AGENT_INTERACTIONS.table} holds nothing yet; ingest interactions first")
    return compute_features(lake, interactions, newest(lake, interactions))


def materialize_once(
    lake: Lake, users: TableVersion, agents: TableVersion, as_of: datetime, *, again: bool = False
) -> Materialization:
    """Push the newest values as of ``as_of`` (UTC) to the online store, unless that was done before.

    Args:
        lake: where the feature tables are.
        users: pinned ``ml.user_features``.
        agents: pinned ``ml.agent_features``.
        as_of: the scheduled instant.
        again: push although it was done before, for an online store that lost its data.
    """
    where = hashlib.sha256(lake.settings.online.encode()).hexdigest()[:8]
    key = f"materialized:{where}:{users}:{agents}:{as_of.isoformat()}"
    done = lake.ledger.find(CHAIN, key)
    if done and not again:
        return Materialization(as_of=as_of, users=done.payload["users"], agents=done.payload["agents"])
    pushed = materialize(lake, users, agents, as_of)
    lake.ledger.append(CHAIN, "materialized", key, {"users": pushed.users, "agents": pushed.agents})
    return pushed
