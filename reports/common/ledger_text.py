"""Ledger entries in words: one line of evidence an entry, for the history, the lineage and the report.

It knows the payloads by their names alone, because the ledger outlives the code that wrote it: an unknown kind, or a
payload of another shape, is told as it stands.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lake.store.ledger import Entry
from models.registry.kinds import CLOSING

UNIT = "nats a response token"
ON_THE_WAY = ("rollout_queued", "shadow_passed", "canary_widened", "promotion_approved", "soak_ended")
"""Kinds between a rollout's opening and its end, and the end of the watch after it."""
SHORT = 8
"""Hex digits of a digest that a person is shown."""


def evidence(entry: Entry) -> str:
    """Why or with what the thing happened, in one line."""
    teller = _TELLERS.get(entry.kind, _plain)
    try:
        return teller(entry.payload)
    except (KeyError, TypeError, ValueError):
        return _plain(entry.payload)


def difference(fields: Mapping[str, Any]) -> str:
    """A score difference with its interval: ``-0.312 [-0.360, -0.251]``."""
    value, low, high = (float(fields[name]) for name in ("difference", "low", "high"))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def judgement(fields: Mapping[str, Any]) -> str:
    """``better than``, ``not shown better than``, ``worse than`` or ``too little data against``."""
    word = str(fields["judgement"]).replace("_", " ")
    return f"{word} {'against' if word == 'too little data' else 'than'}"


def _trained(fields: Mapping[str, Any]) -> str:
    told = f"{fields['steps']:,} steps to loss {fields['train_loss']:.3f}, data up to {fields['cut'][:16]}"
    return f"{told}, adapter {str(fields['adapter_digest'])[:SHORT]}"


def _judged(fields: Mapping[str, Any]) -> str:
    on = f"{fields['rows']:,} rows of {fields['users']:,} users"
    return f"{judgement(fields)} {fields['baseline']}: {difference(fields)} {UNIT} on {on}"


def _registered(fields: Mapping[str, Any]) -> str:
    return f"{fields['adapter_name']}, judged {fields['judgement']} against {fields.get('baseline', 'base')}"


def _opened(fields: Mapping[str, Any]) -> str:
    return f"against {fields['baseline']}"


def _reason(fields: Mapping[str, Any]) -> str:
    return str(fields["reason"])


def _failed(fields: Mapping[str, Any]) -> str:
    return f"in {fields['stage']}, execution {fields['execution']}"


def _retraining_opened(fields: Mapping[str, Any]) -> str:
    cause = fields["cause"]
    return f"{_asked(cause)}; on data up to {fields['cut'][:16]}, to beat {fields['baseline']}"


def _requested(fields: Mapping[str, Any]) -> str:
    return f"#{fields['request']} {_asked(fields)}"


def _asked(fields: Mapping[str, Any]) -> str:
    """``error rate: up by ...``, or ``hand (ana): new thumbs``."""
    person = f" ({fields['by']})" if fields["by"] else ""
    return f"{str(fields['trigger']).replace('_', ' ')}{person}: {fields['reason']}"


def _ended(fields: Mapping[str, Any]) -> str:
    return f"#{fields['request']}: {fields['reason']}"


def _retraining_closed(fields: Mapping[str, Any]) -> str:
    return f"{str(fields['outcome']).replace('_', ' ')}. {fields['reason']}"


def _ingested(fields: Mapping[str, Any]) -> str:
    names = ("landed", "committed", "quarantined", "duplicates")
    return ", ".join(f"{fields[name]:,} {name}" for name in names)


def _landed(fields: Mapping[str, Any]) -> str:
    return f"{fields['bytes']:,} bytes as {fields['object']}"


def _reported(fields: Mapping[str, Any]) -> str:
    return f"run {fields['run']}"


def _checked(fields: Mapping[str, Any]) -> str:
    return f"{fields['level']}: {'; '.join(fields['complaints'])}"


def _audited(fields: Mapping[str, Any]) -> str:
    broken = ", ".join(f"{one['reason']} {one['keys']:,}" for one in fields["findings"])
    return f"{fields['version']}: {broken or 'nothing stands twice'}"


def _removed(fields: Mapping[str, Any]) -> str:
    told = f"{fields['rows']:,} rows before {fields['cut']}, {fields['raw_objects']:,} raw objects"
    return f"{told}; from tags {', '.join(fields['tags'])}" if fields["tags"] else told


def _worked(fields: Mapping[str, Any]) -> str:
    return f"up to {fields['end'][:16]}, run {fields['run']}"


def _plain(fields: Mapping[str, Any]) -> str:
    scalars = {name: value for name, value in fields.items() if isinstance(value, str | int | float) and value != ""}
    return ", ".join(f"{name} {value}" for name, value in scalars.items())


_TELLERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "trained": _trained,
    "judged": _judged,
    "registered": _registered,
    "rollout_opened": _opened,
    **dict.fromkeys((*CLOSING, *ON_THE_WAY, "not_registered", "tuned", "retired"), _reason),
    "retraining_requested": _requested,
    "request_ended": _ended,
    "request_abandoned": _ended,
    "retraining_opened": _retraining_opened,
    "retraining_closed": _retraining_closed,
    "retraining_failed": _failed,
    "ingested": _ingested,
    "landed": _landed,
    "reported": _reported,
    "checked": _checked,
    "audited": _audited,
    **dict.fromkeys(("retention_due", "retention_done"), _removed),
    "done": _worked,
}
