"""Features from rows, in the lake and in the online store."""

from datetime import datetime

from flytekit import workflow

from features.online.reader import Materialization
from lake.tables.versions import TableVersion
from tasks.features import FeatureVersions, compute_features, keep_features, materialize_features, materialize_now


@workflow
def features(interactions: TableVersion, upto: datetime) -> FeatureVersions:
    """Compute the features that were due by ``upto``, and write the newest to the online store.

    Args:
        interactions: the pinned version to compute from.
        upto: the scheduled instant (UTC).
    """
    users, agents, infrastructure = compute_features(interactions=interactions, upto=upto)
    materialize_features(user_features=users, agent_features=agents, infrastructure_features=infrastructure, as_of=upto)
    return FeatureVersions(users, agents, infrastructure)


@workflow
def scheduled_features(
    kickoff: datetime, every_minutes: int = 60, schedule: str = "compute_features_hourly", view: str = "agent_features"
) -> list[Materialization]:
    """Compute every feature row that is due and missing, and write the newest values of one view to the online store.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        view: the feature view whose `created_timestamp` follows this schedule.
    """
    return keep_features(view=view, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)


@workflow
def materialization() -> Materialization:
    """Write the newest values of every feature view to the online store now, for example after it lost its data."""
    return materialize_now()
