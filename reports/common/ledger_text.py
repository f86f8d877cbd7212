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
        return describe(entry.payload) if callable(describe) else describe.format_map(entry.payload)
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


def _judged(fields: Payload) -> str:
    size = f"{fields['rows']:,} rows of {fields['users']:,} users"
    return f"{judgement(fields)} {fields['baseline']}: {difference(fields)} {UNIT} on {size}"


def _registered(fields: Payload) -> str:
    return f"{fields['adapter_name']}, judged {fields['judgement']} against {fields.get('baseline', 'base')}"


def _failed(fields: Payload) -> str:
    what = "aborted" if fields.get("outcome") == "aborted" else ""
    stage = f"in {fields['stage']}" if fields["stage"] else "in an unknown stage"
    attempts = f"after {fields['attempts']} attempts" if fields.get("attempts", 0) > 1 else ""
    error = f": {fields['error']}" if fields.get("error") else ""
    return ", ".join(filter(None, (what, stage, attempts, f"execution {fields['execution']}"))) + error


def _cause(fields: Payload) -> str:
    """``error rate: up by ...``, or ``hand (ana): new feedback``."""
    person = f" ({fields['by']})" if fields["by"] else ""
    return f"{words(str(fields['trigger']))}{person}: {fields['reason']}"


def _retraining_opened(fields: Payload) -> str:
    return f"{_cause(fields['cause'])}; on data up to {fields['cut'][:16]}, compared with {fields['baseline']}"


def _audited(fields: Payload) -> str:
    broken = ", ".join(f"{finding['reason']} {finding['keys']:,}" for finding in fields["findings"])
    return f"{fields['version']}: {broken or 'no repeated keys'}"


def _removed(fields: Payload) -> str:
    removed = f"{fields['rows']:,} rows before {fields['cut']}, {fields['raw_objects']:,} raw objects"
    return f"{removed}; from tags {', '.join(fields['tags'])}" if fields["tags"] else removed


def _names_and_values(fields: Payload) -> str:
    scalars = {name: value for name, value in fields.items() if isinstance(value, str | int | float) and value != ""}
    return ", ".join(f"{name} {value}" for name, value in scalars.items())


REASON = "{reason}"
_DESCRIPTIONS: dict[str, str | Callable[[Payload], str]] = {
    "trained": "{steps:,} steps to loss {train_loss:.3f}, data up to {cut:.16}, adapter {adapter_digest:.8}",
    "judged": _judged,
    "registered": _registered,
    "not_registered": REASON,
    "retired": REASON,
    "tuned": REASON,
    **dict.fromkeys(CLOSING, REASON),
    "rollout_opened": "against {baseline}",
    **dict.fromkeys(("rollout_queued", "shadow_passed", "canary_widened", "promotion_approved", "soak_ended"), REASON),
    "retraining_requested": lambda fields: f"#{fields['request']} {_cause(fields)}",
    **dict.fromkeys(("request_ended", "request_abandoned"), "#{request}: {reason}"),
    "request_covered": _cause,
    "retraining_opened": _retraining_opened,
    "retraining_closed": lambda fields: f"{words(str(fields['outcome']))}. {fields['reason']}",
    "retraining_failed": _failed,
    "ingested": "{landed:,} landed, {committed:,} committed, {quarantined:,} quarantined, {duplicates:,} duplicates",
    "landed": "{bytes:,} bytes as {object}",
    "reported": "run {run}",
    "checked": lambda fields: f"{fields['level']}: {'; '.join(fields['complaints'])}",
    "audited": _audited,
    **dict.fromkeys(("retention_due", "retention_done"), _removed),
    "done": "up to {end:.16}, run {run}",
}
"""By kind of entry: a format of its payload, or a function of it."""
