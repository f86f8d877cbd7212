"""Features: computed once from a pinned snapshot, then put online."""

from datetime import datetime
from typing import NamedTuple

from features.online.reader import Materialization
from lake.tables.versions import TableVersion
from tasks.environments import cpu
from tasks.runtime import due, lake, publish


class FeatureVersions(NamedTuple):
    """The feature tables that hold what was due."""

    user_features: TableVersion
    agent_features: TableVersion
    infrastructure_features: list[TableVersion]
    """None or one version: none where nothing of the clusters was measured."""


@cpu
def compute_features(interactions: TableVersion, upto: datetime) -> FeatureVersions:
    """Compute the feature rows that were due by ``upto`` and are missing."""
    from features.batch.compute import compute_features as compute
    from features.definitions.views import VIEWS
    from reports.common.html import note
    from reports.decks.features import features_deck

    here = lake()
    before = [version for view in VIEWS if (version := here.tables.current(view.contract))]
    users, agents, *infrastructure = compute(here, interactions, upto)
    if before == [users, agents, *infrastructure]:
        publish(30, "Features", note("No feature row was due that is not there."))
    else:
        publish(30, "Features", *features_deck(here, users, agents, *infrastructure))
    return FeatureVersions(users, agents, infrastructure)


@cpu(enable_deck=False)
def refresh_features() -> FeatureVersions:
    """Compute what is due by the newest interaction and missing: nothing, where the schedule has done it."""
    from features.batch.schedule import compute_due

    users, agents, *infrastructure = compute_due(lake())
    return FeatureVersions(users, agents, infrastructure)


@cpu
def materialize_features(
    user_features: TableVersion,
    agent_features: TableVersion,
    infrastructure_features: list[TableVersion],
    as_of: datetime,
) -> int:
    """Put the newest value of each user, agent and namespace online; returns how many entities have one."""
    from features.batch.schedule import materialize_once

    pushed = materialize_once(lake("online"), user_features, agent_features, *infrastructure_features, as_of=as_of)
    return pushed.users + pushed.agents + pushed.namespaces


@cpu
def keep_features(view: str, kickoff: datetime, every_minutes: int, schedule: str) -> list[Materialization]:
    """Compute what is due, and put the view's newest values online, once a window.

    Empty where an earlier run has done it, or where nothing was ingested yet.
    """
    from features.batch.schedule import keep_up
    from features.definitions.views import named_view

    here, chosen = lake("online"), named_view(view)
    done = due(
        here, schedule, lambda window: keep_up(here, window.end, chosen), kickoff=kickoff, every_minutes=every_minutes
    )
    pushed = [one for one in done if one]
    _show_online(pushed)
    return pushed


@cpu
def materialize_now() -> Materialization:
    """Compute what is due by the newest interaction, and put every view's newest values online."""
    from features.batch.schedule import compute_due, materialize_once

    here = lake("online")
    pushed = materialize_once(here, *compute_due(here), as_of=here.ledger.clock())
    _show_online([pushed])
    return pushed


def _show_online(pushed: list[Materialization]) -> None:
    from reports.decks.features import online_deck

    publish(35, "Online features", *online_deck(pushed))
