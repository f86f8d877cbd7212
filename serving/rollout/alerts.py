"""Alerts about a canary, each sent once: users were taken back, or nothing was shown by the deadline."""

from collections.abc import Collection

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry import kinds
from models.registry.kinds import model_chain, version_name

ALERTING = (kinds.INCONCLUSIVE, kinds.ROLLED_BACK, kinds.REJECTED)
"""Kinds of closing entries that alert a person, where the candidate had passed its shadow."""


def pending_alerts(lake: Lake, models: Collection[str], run: str) -> list[str]:
    """The alerts about these models' canaries that no other run has sent, a line each; they are recorded as sent.

    A run that is tried again gets the same alerts again: its first try may have died before a person was notified.
    """
    lines = []
    for entry in [entry for model in sorted(models) for entry in _pending(lake, model, run)]:
        payload = {"entry": entry.digest, "run": run}
        lake.ledger.append(entry.chain, kinds.ALERT_SENT, f"told:{entry.digest}", payload)
        lines.append(f"{version_name(entry)} {entry.kind.replace('_', ' ')}: {entry.payload['reason']}")
    return lines


def _pending(lake: Lake, model: str, run: str) -> list[Entry]:
    entries = lake.ledger.entries(model_chain(model))
    sent = {
        entry.payload["entry"] for entry in entries if entry.kind == kinds.ALERT_SENT and entry.payload["run"] != run
    }
    return [
        entry for entry in entries if entry.kind in ALERTING and entry.payload.get("live") and entry.digest not in sent
    ]
