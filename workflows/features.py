"""From rows to features, in the lake and online."""

from datetime import datetime

from flytekit import workflow

from lake.versions import TableVersion
from tasks.features import FeatureVersions, compute_features, materialize_features


@workflow
def features(interactions: TableVersion, upto: datetime) -> FeatureVersions:
    """Compute the features that were due by ``upto`` and put the newest online.

    Args:
        interactions: the pinned version to compute from.
        upto: the scheduled instant (UTC).
    """
    users, agents = compute_features(interactions=interactions, upto=upto)
    materialize_features(user_features=users, agent_features=agents, as_of=upto)
    return FeatureVersions(users, agents)
