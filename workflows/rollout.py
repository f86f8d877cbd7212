"""One step of every open rollout, run by a schedule."""

from flytekit import map_task, workflow

from models.types import Verdict
from tasks.rollout import advance_canary, advance_shadow, list_open_rollouts, tell_people


@workflow
def rollout_step() -> list[Verdict]:
    """Advance every open rollout by one idempotent step; without one it ends at once.

    Where a canary was rolled back, the run fails once, so that its notifications reach a person.
    """
    rollouts = list_open_rollouts()
    return tell_people(
        shadows=map_task(advance_shadow)(version=rollouts.in_shadow),
        canaries=map_task(advance_canary)(version=rollouts.among_users),
    )
