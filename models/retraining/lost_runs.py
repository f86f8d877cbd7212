"""Trainings that ended without a result: they lose their lease and their request, so that they cover nothing.

A run that fails records that itself. One that is aborted, or whose pod is lost, records nothing: the next check finds
it. A person's request that it covered is made again then, with its own inputs and reason.
"""

from collections.abc import Callable

from lake.lake import Lake
from models.registry.fold import read_state
from models.registry.training_lease import lease_holder, release
from models.retraining.outcome import RunEnd, record_failure
from models.triggers.requests import abandon_request, renew_covered_request
from models.types import Cause


def clear_lost_runs(lake: Lake, model: str, end_of: Callable[[str], RunEnd | None]) -> None:
    """Take the lease and the open request of a model from a run that has ended without a result, then make the oldest
    covered request of a person again if nothing is open any more.

    Args:
        lake: where the ledger is.
        model: the model.
        end_of: how the run of this name ended; None while it runs, or where it is not known: then its lease decides.
    """
    lease, request = lease_holder(lake, model), read_state(lake.ledger, model).request
    if lease and (end := end_of(lease.holder)):
        if end.outcome == "succeeded":
            release(lake, model, lease.holder)
        else:
            number = request.number if request and request.run == lease.holder else 0
            record_failure(lake, model, Cause(request=number), end, execution=lease.holder)
    request = read_state(lake.ledger, model).request
    if request and (end := end_of(request.run)):
        abandon_request(lake, model, request, f"Its run {request.run} {end.outcome} without a result.")
    if not lease_holder(lake, model):
        renew_covered_request(lake, model)
