"""Names in the ledger of what concerns a model: chains, kinds of entries, and the keys that several modules use.

All are stored, so none of them ever changes. A key that one module writes and reads is spelt there.
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
REQUEST_COVERED = "request_covered"
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


def closed_key(retraining: str) -> str:
    """Key of ``retraining_closed``: a retraining ends once."""
    return f"retraining-closed:{retraining}"


def request_key(number: int) -> str:
    """Key of ``retraining_requested``: of two triggers at once only one gets the number."""
    return f"request:{number}"
