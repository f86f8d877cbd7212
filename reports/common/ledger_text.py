"""Ledger entries as text: one line of evidence for each entry, for the history, the lineage and the reports.

The payloads are read by their names alone, because the ledger outlives the code that wrote it. An entry of an unknown
kind, or with a payload of another shape, is shown as its names and values.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lake.store.ledger import Entry
from models.registry.kinds import CLOSING

Payload = Mapping[str, Any]

UNIT = "nats per response token"
ON_THE_WAY = ("rollout_queued", "shadow_passed", "canary_widened", "promotion_approved", "soak_ended")
"""Kinds between the start of a rollout and its end, and the end of the observation after a promotion."""
SHORT = 8
"""Hex digits of a digest that are shown."""


def words(name: str) -> str:
    """``error_rate`` as ``error rate``."""
    return name.replace("_", " ")


def minute(instant: str | None) -> str:
    """An ISO 8601 instant to the minute: ``2026-11-30 14:05``; ``-`` for none."""
    return instant[:16].replace("T", " ") if instant else "-"


def clock(instant: str) -> str:
    """The time of day of an ISO 8601 instant: ``14:05``."""
    return instant[11:16]


def evidence(entry: Entry) -> str:
    """The reason or the figures of an entry, in one line."""
    describe = _DESCRIPTIONS.get(entry.kind, _names_and_values)
    try:
        return describe(entry.payload)
    except (KeyError, TypeError, ValueError):
        return _names_and_values(entry.payload)


def difference(fields: Payload) -> str:
    """A score difference with its interval: ``-0.312 [-0.360, -0.251]``."""
    value, low, high = (float(fields[name]) for name in ("difference", "low", "high"))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def judgement(fields: Payload) -> str:
    """``better than``, ``not shown better than``, ``worse than`` or ``too little data against``."""
    word = words(str(fields["judgement"]))
    return f"{word} {'against' if word == 'too little data' else 'than'}"


def _trained(fields: Payload) -> str:
    steps = f"{fields['steps']:,} steps to loss {fields['train_loss']:.3f}, data up to {fields['cut'][:16]}"
    return f"{steps}, adapter {str(fields['adapter_digest'])[:SHORT]}"


def _judged(fields: Payload) -> str:
    size = f"{fields['rows']:,} rows of {fields['users']:,} users"
    return f"{judgement(fields)} {fields['baseline']}: {difference(fields)} {UNIT} on {size}"


def _registered(fields: Payload) -> str:
    return f"{fields['adapter_name']}, judged {fields['judgement']} against {fields.get('baseline', 'base')}"


def _opened(fields: Payload) -> str:
    return f"against {fields['baseline']}"


def _reason(fields: Payload) -> str:
    return str(fields["reason"])


def _failed(fields: Payload) -> str:
    return f"in {fields['stage']}, execution {fields['execution']}"


def _retraining_opened(fields: Payload) -> str:
    return f"{_cause(fields['cause'])}; on data up to {fields['cut'][:16]}, compared with {fields['baseline']}"


def _requested(fields: Payload) -> str:
    return f"#{fields['request']} {_cause(fields)}"


def _cause(fields: Payload) -> str:
    """``error rate: up by ...``, or ``hand (ana): new feedback``."""
    person = f" ({fields['by']})" if fields["by"] else ""
    return f"{words(str(fields['trigger']))}{person}: {fields['reason']}"


def _ended(fields: Payload) -> str:
    return f"#{fields['request']}: {fields['reason']}"


def _retraining_closed(fields: Payload) -> str:
    return f"{words(str(fields['outcome']))}. {fields['reason']}"


def _ingested(fields: Payload) -> str:
    names = ("landed", "committed", "quarantined", "duplicates")
    return ", ".join(f"{fields[name]:,} {name}" for name in names)


def _landed(fields: Payload) -> str:
    return f"{fields['bytes']:,} bytes as {fields['object']}"


def _reported(fields: Payload) -> str:
    return f"run {fields['run']}"


def _checked(fields: Payload) -> str:
    return f"{fields['level']}: {'; '.join(fields['complaints'])}"


def _audited(fields: Payload) -> str:
    broken = ", ".join(f"{finding['reason']} {finding['keys']:,}" for finding in fields["findings"])
    return f"{fields['version']}: {broken or 'no repeated keys'}"


def _removed(fields: Payload) -> str:
    removed = f"{fields['rows']:,} rows before {fields['cut']}, {fields['raw_objects']:,} raw objects"
    return f"{removed}; from tags {', '.join(fields['tags'])}" if fields["tags"] else removed


def _window_done(fields: Payload) -> str:
    return f"up to {fields['end'][:16]}, run {fields['run']}"


def _names_and_values(fields: Payload) -> str:
    scalars = {name: value for name, value in fields.items() if isinstance(value, str | int | float) and value != ""}
    return ", ".join(f"{name} {value}" for name, value in scalars.items())


_DESCRIPTIONS: dict[str, Callable[[Payload], str]] = {
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
    "done": _window_done,
}
