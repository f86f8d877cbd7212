"""Features: computed once from a pinned snapshot, then written to the online store."""

from datetime import datetime
from typing import NamedTuple

from features.online.reader import Materialization
from lake.tables.versions import TableVersion
from tasks.environments import cpu
from tasks.runtime import due, publish, task_lake

ONLINE = (35, "Online features")


class FeatureVersions(NamedTuple):
    """Versions of the feature tables with every row that was due."""

    user_features: TableVersion
    agent_features: TableVersion
    infrastructure_features: list[TableVersion]
    """None or one version: none if the clusters are not measured."""


@cpu
def compute_features(interactions: TableVersion, upto: datetime) -> FeatureVersions:
    """Compute the feature rows that were due by ``upto`` and are missing."""
    from features.batch.compute import compute_features as compute
    from features.definitions.views import VIEWS
    from reports.common.html import note
    from reports.decks.features import features_deck

    lake = task_lake()
    before = [version for view in VIEWS if (version := lake.tables.current(view.contract))]
    users, agents, *infrastructure = after = compute(lake, interactions, upto)
    changed = before != list(after)
    publish(30, "Features", *(features_deck(lake, *after) if changed else [note("No feature row was missing.")]))
    return FeatureVersions(users, agents, infrastructure)


@cpu(enable_deck=False)
def refresh_features() -> FeatureVersions:
    """Compute what is due by the newest interaction and missing: nothing, if the schedule has done it."""
    from features.batch.schedule import compute_due

    users, agents, *infrastructure = compute_due(task_lake())
    return FeatureVersions(users, agents, infrastructure)


@cpu
def materialize_features(
    user_features: TableVersion,
    agent_features: TableVersion,
    infrastructure_features: list[TableVersion],
    as_of: datetime,
) -> int:
    """Write the newest values of each user, agent and namespace online; returns the number of entities with values."""
    from features.batch.schedule import materialize_once

    versions = (user_features, agent_features, *infrastructure_features)
    written = materialize_once(task_lake("online"), *versions, as_of=as_of)
    return written.users + written.agents + written.namespaces


@cpu
def keep_features(view: str, kickoff: datetime, every_minutes: int, schedule: str) -> list[Materialization]:
    """Compute what is due, and write the view's newest values online, once per window.

    Empty if an earlier run has done it, or if nothing was ingested yet.
    """
    from features.batch.schedule import keep_up
    from features.definitions.views import named_view

    lake, chosen = task_lake("online"), named_view(view)
    windows = due(lake, schedule, kickoff, every_minutes, ONLINE, lambda window: keep_up(lake, window.end, chosen))
    return _shown([written for written in windows if written]) if windows else []


@cpu
def materialize_now() -> Materialization:
    """Compute what is due by the newest interaction, and write every view's newest values online."""
    from features.batch.schedule import compute_due, materialize_once

    lake = task_lake("online")
    return _shown([materialize_once(lake, *compute_due(lake), as_of=lake.ledger.clock())])[0]


def _shown(written: list[Materialization]) -> list[Materialization]:
    from reports.decks.features import online_deck

    publish(*ONLINE, *online_deck(written))
    return written
