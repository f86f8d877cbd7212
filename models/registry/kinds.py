"""Names in the ledger of what concerns a model: chains, kinds of entries, and keys.

This is the one place that spells them. All are stored, so none of them ever changes.
"""

from lake.store.ledger import Entry, Ledger

# Kinds of entries in the chain of a model.
TRAINED = "trained"
JUDGED = "judged"
REGISTERED = "registered"
NOT_REGISTERED = "not_registered"
TUNED = "tuned"
RETIRED = "retired"
RETRAINING_REQUESTED = "retraining_requested"
RETRAINING_OPENED = "retraining_opened"
RETRAINING_RESUMED = "retraining_resumed"
RETRAINING_CLOSED = "retraining_closed"
RETRAINING_FAILED = "retraining_failed"
REQUEST_ENDED = "request_ended"
REQUEST_ABANDONED = "request_abandoned"
ROLLOUT_OPENED = "rollout_opened"
ROLLOUT_QUEUED = "rollout_queued"
SHADOW_PASSED = "shadow_passed"
CANARY_WIDENED = "canary_widened"
PROMOTION_APPROVED = "promotion_approved"
PROMOTED = "promoted"
REJECTED = "rejected"
INCONCLUSIVE = "inconclusive"
ROLLED_BACK = "rolled_back"
SOAK_ENDED = "soak_ended"
ALERT_SENT = "told"
REPORTED = "reported"

CLOSING = (PROMOTED, REJECTED, INCONCLUSIVE, ROLLED_BACK)
"""Kinds that end a rollout."""

_MODELS = "models/"
_TRIGGERS = "triggers/"


def model_chain(model: str) -> str:
    """The chain of a model: ``models/agents``."""
    return f"{_MODELS}{model}"


def trigger_chain(model: str, trigger: str) -> str:
    """The chain of a trigger's decisions on a model: ``triggers/agents/drift``."""
    return f"{_TRIGGERS}{model}/{trigger}"


def study_chain(model: str, study_id: str) -> str:
    """The chain of a hyperparameter search: ``tuning/agents/<32 hex digits>``."""
    return f"tuning/{model}/{study_id}"


def model_of(entry: Entry) -> str:
    """The model in whose chain an entry is."""
    return entry.chain.removeprefix(_MODELS)


def model_names(ledger: Ledger) -> list[str]:
    """Every model that has a chain."""
    return [chain.removeprefix(_MODELS) for chain in ledger.chains(_MODELS)]


def model_names_with_decisions(ledger: Ledger) -> set[str]:
    """Every model that has a chain of its own or a trigger's decision."""
    return {*model_names(ledger), *(chain.split("/")[1] for chain in ledger.chains(_TRIGGERS))}


def version_name(entry: Entry) -> str:
    """``agents@v3`` where the entry concerns a version, else an empty string."""
    number = entry.payload.get("version")
    return f"{model_of(entry)}@v{number}" if number else ""


def trained_key(training_key: str) -> str:
    return f"trained:{training_key}"


def judged_key(training_key: str, baseline: str, digest: str) -> str:
    """Key of ``judged``; ``digest`` covers the rule, the sizes and the code."""
    return f"judged:{training_key}:{baseline}:{digest}"


def registered_key(training_key: str) -> str:
    """Key of ``registered``: a training is registered once."""
    return f"registered:{training_key}"


def not_registered_key(training_key: str, baseline: str) -> str:
    return f"not_registered:{training_key}:{baseline}"


def tuned_key(study_id: str, trials: int, confidence: float) -> str:
    return f"tuned:{study_id}:{trials}:{confidence}"


def retired_key(version: int) -> str:
    """Key of ``retired``: a version is retired once."""
    return f"retired:{version}"


def opened_key(retraining: str) -> str:
    """Key of ``retraining_opened``: the first pinned inputs of a retraining are kept."""
    return f"retraining:{retraining}"


def resumed_key(retraining: str, fence: int) -> str:
    """Key of ``retraining_resumed``: once for each number of the lease."""
    return f"resumed:{retraining}:{fence}"


def closed_key(retraining: str) -> str:
    """Key of ``retraining_closed``: a retraining ends once."""
    return f"retraining-closed:{retraining}"


def failed_key(execution: str, fence: int, request: int) -> str:
    """Key of ``retraining_failed``; ``fence`` is 0 where the run does not hold the lease."""
    return f"failed:{execution}:{fence}:{request}"


def request_key(number: int) -> str:
    """Key of ``retraining_requested``: of two triggers at once only one gets the number."""
    return f"request:{number}"


def request_ended_key(number: int) -> str:
    return f"request-ended:{number}"


def request_abandoned_key(number: int) -> str:
    return f"request-abandoned:{number}"


def decision_key(evaluation: str, rule_digest: str) -> str:
    """Key of a trigger's decision: which evaluation of the rule (``until:<time>`` or a run), and which thresholds."""
    return f"{evaluation}:{rule_digest}"


def alert_key(entry: Entry) -> str:
    """Key of ``told``: one alert for each closing entry."""
    return f"told:{entry.digest}"


def reported_key(run: str) -> str:
    return f"reported:{run}"
