"""Scheduled computation and materialization of features, once for the same inputs: a repeated run does nothing."""

import hashlib
from datetime import datetime, timedelta

from errors import DataError
from features.batch.compute import compute_features
from features.definitions.views import VIEWS, View
from features.online.reader import Materialization, materialize
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import Lake
from lake.tables.versions import TableVersion

CHAIN = "sources/features"


def newest(lake: Lake, interactions: TableVersion) -> datetime:
    """Just after the newest interaction of a version (UTC). Raises ``DataError`` if it has none."""
    at = lake.tables.newest_time(AGENT_INTERACTIONS, interactions)
    if at is None:
        raise DataError(f"{interactions} has no interaction; ingest some first")
    return at + timedelta(microseconds=1)


def compute_due(lake: Lake) -> list[TableVersion]:
    """Compute every feature row that is due by the newest interaction and missing; versions as ``compute_features``.
    Raises ``DataError`` if nothing was ingested yet.
    """
    interactions = lake.tables.current(AGENT_INTERACTIONS)
    if interactions is None:
        raise DataError(f"{AGENT_INTERACTIONS.table} is empty; ingest interactions first")
    return compute_features(lake, interactions, newest(lake, interactions))


def keep_up(lake: Lake, upto: datetime, *views: View) -> Materialization | None:
    """Compute every feature row that is due by ``upto`` (UTC) and missing, and write the newest of ``views`` online.

    Only the schedule that a view's ``created_timestamp`` assumes writes it online: of two schedules that catch up out
    of order, one would overwrite newer values with older ones. None if nothing was ingested yet.
    """
    interactions = lake.tables.current(AGENT_INTERACTIONS)
    if interactions is None:
        return None
    return materialize_once(lake, *compute_features(lake, interactions, upto), as_of=upto, views=views)


def materialize_once(
    lake: Lake,
    users: TableVersion,
    agents: TableVersion,
    infrastructure: TableVersion | None = None,
    *,
    as_of: datetime,
    views: tuple[View, ...] = VIEWS,
    again: bool = False,
) -> Materialization:
    """Write the newest values of pinned feature tables as of ``as_of`` (UTC) to the online store, unless that was done
    before; with ``again`` even then, for an online store that lost its data.
    """
    where = hashlib.sha256(lake.settings.online.encode()).hexdigest()[:8]
    which = "+".join(view.name for view in views)
    versions = ":".join(str(version) for version in (users, agents, infrastructure) if version)
    key = f"materialized:{where}:{which}:{versions}:{as_of.isoformat()}"
    done = lake.ledger.find(CHAIN, key)
    if done and not again:
        return Materialization(as_of=as_of, **done.payload)
    written = materialize(lake, users, agents, as_of, views=views, infrastructure=infrastructure)
    counts = {"users": written.users, "agents": written.agents, "namespaces": written.namespaces}
    lake.ledger.append(CHAIN, "materialized", key, counts)
    return written
