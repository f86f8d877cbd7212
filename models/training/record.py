"""The ledger's record of a complete training: rows after its data cut are new from then on."""

from dataclasses import asdict

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry import kinds
from models.types import Cause, TrainedAdapter


def record_trained(lake: Lake, adapter: TrainedAdapter, retraining: str, cause: Cause) -> Entry:
    """Record that a training is complete.

    Args:
        lake: where the ledger is.
        adapter: the result.
        retraining: key of the retraining that it belongs to (``Pinned.retraining``).
        cause: why the retraining was started.
    """
    data = adapter.training_set
    payload = {
        "training_key": adapter.training_key,
        "training_set_id": data.training_set_id,
        "cut": data.cut.isoformat(),
        "inputs": [str(version) for version in (*data.inputs, data.table)],
        "adapter_digest": adapter.digest,
        "path": adapter.path,
        "steps": adapter.steps,
        "train_loss": adapter.train_loss,
        "base_digest": adapter.base_digest,
        "retraining": retraining,
        "cause": asdict(cause),
    }
    key = kinds.trained_key(adapter.training_key)
    return lake.ledger.append(kinds.model_chain(adapter.model), kinds.TRAINED, key, payload)
