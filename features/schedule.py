"""The scheduled materialization: once for the same versions and instant, so a late or doubled fire does nothing."""

import hashlib
from datetime import datetime

from features.online import Materialization, materialize
from lake.lake import Lake
from lake.versions import TableVersion

CHAIN = "sources/features"


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
