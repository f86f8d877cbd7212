"""What a person has to hear, once: that users were taken back, or that nothing was shown by the deadline."""

from collections.abc import Collection

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.kinds import model_chain, version_name

KINDS = ("inconclusive", "rolled_back", "rejected")


def untold(lake: Lake, models: Collection[str], run: str) -> list[str]:
    """What has happened to these models' canaries and no other run has told; from now on it counts as told by this one.

    A run that is tried again tells the same again: its first try may have died before anybody heard.
    """
    return [_tell(lake, entry, run) for model in sorted(models) for entry in _unheard(lake, model, run)]


def _unheard(lake: Lake, model: str, run: str) -> list[Entry]:
    entries = lake.ledger.entries(model_chain(model))
    heard = {one.payload["entry"] for one in entries if one.kind == "told" and one.payload["run"] != run}
    return [
        entry for entry in entries if entry.kind in KINDS and entry.payload.get("live") and entry.digest not in heard
    ]


def _tell(lake: Lake, entry: Entry, run: str) -> str:
    """The news in a line; first it is written down that it is told."""
    lake.ledger.append(entry.chain, "told", f"told:{entry.digest}", {"entry": entry.digest, "run": run})
    return f"{version_name(entry)} {entry.kind.replace('_', ' ')}: {entry.payload['reason']}"
