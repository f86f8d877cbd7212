"""One step of every open rollout, for a schedule."""

from flytekit import map_task, workflow

from models.types import Verdict
from tasks.rollout import advance_rollout, list_open_rollouts


@workflow
def rollout_step() -> list[Verdict]:
    """Advance every open rollout by one idempotent step; with none open it ends at once."""
    return map_task(advance_rollout)(version=list_open_rollouts())
