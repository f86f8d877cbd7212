"""The state of a lake now or at any time: its tables, its sources, its models."""

from datetime import datetime
from typing import Any

from lake.contracts import contracts
from lake.lake import Lake
from lake.quality.score import account
from lake.store.ledger import Entry
from models.registry.fold import read_state
from models.registry.kinds import REPORTED, model_chain, model_names, version_name
from models.registry.state import ModelState
from models.registry.training_lease import lease_holder
from models.types import BASE
from reports.common.ledger_text import evidence


def overview(lake: Lake, until: datetime | None = None) -> dict[str, Any]:
    """Tables, sources and models as of ``until`` (inclusive; default: now), as plain JSON.

    ``lake``, ``store``, ``as_of``; ``tables`` (table, rows, snapshot_id); ``sources`` (source, objects, landed,
    committed, quarantined, duplicates, reasons, watermark); ``models`` (model, production, since, why, registered,
    waiting, retired, rollout, training, request, failures, failed_at, trained_upto, last_event). Times are ISO 8601.
    """
    chains = [chain for chain in lake.ledger.chains("sources/") if lake.ledger.entries(chain, kind="landed")]
    sources = [chain.removeprefix("sources/") for chain in chains]
    models = model_names(lake.ledger)
    return {
        "lake": lake.settings.lake,
        "store": lake.settings.store_address,
        "as_of": until.isoformat() if until else None,
        "tables": _tables(lake, until),
        "sources": [_source(lake, name, until) for name in sources],
        "models": [_model(lake, name, until) for name in models],
    }


def _tables(lake: Lake, until: datetime | None) -> list[dict[str, Any]]:
    tables = []
    for contract in contracts().values():
        snapshots = lake.tables.snapshots(contract)
        past = [taken for taken in snapshots if until is None or taken.timestamp_ms <= until.timestamp() * 1000]
        if past:
            total = past[-1].summary["total-records"] if past[-1].summary else None
            tables.append({"table": contract.table, "rows": int(total or 0), "snapshot_id": past[-1].snapshot_id})
    return tables


def _source(lake: Lake, name: str, until: datetime | None) -> dict[str, Any]:
    done = lake.ledger.entries(f"sources/{name}", until=until, kind="ingested")
    watermark = max((entry.payload["watermark"] for entry in done), default="")
    return {"source": name, **account(done), "watermark": watermark}


def _model(lake: Lake, name: str, until: datetime | None) -> dict[str, Any]:
    state = read_state(lake.ledger, name, until)
    events = [entry for entry in lake.ledger.entries(model_chain(name), until=until) if entry.kind != REPORTED]
    answers = state.production.name if state.production else BASE
    live = next((entry for entry in reversed(events) if state.production and _brought(entry, answers)), None)
    last = events[-1] if events else None
    return {
        "model": name,
        "production": answers,
        "since": live.time.isoformat() if live else None,
        "why": evidence(live) if live else None,
        "registered": [version.name for version in state.versions],
        "waiting": [version.name for version in state.waiting],
        "retired": [f"{name}@v{number}" for number in state.retired],
        "rollout": _rollout(state),
        "training": _training(lake, name) if until is None else None,
        "request": f"#{state.request.number} by {state.request.trigger}" if state.request else None,
        "failures": state.failures,
        "failed_at": state.failed_at.isoformat() if state.failed_at else None,
        "trained_upto": state.last_cut.isoformat() if state.last_cut else None,
        "last_event": {"kind": last.kind, "time": last.time.isoformat(), "evidence": evidence(last)} if last else None,
    }


def _rollout(state: ModelState) -> str | None:
    """The open rollout and its share of users, or the promotion that is still observed."""
    if rollout := state.rollout:
        reach = f"at {rollout.share:.0%} of the users" if rollout.share else "not yet answering users"
        return f"{state.model}@v{rollout.version} against {rollout.baseline}, {reach}"
    if soak := state.soak:
        former = soak.former.name if soak.former else BASE
        return f"none open; {state.baseline} is observed against {former} until {soak.until:%Y-%m-%d %H:%M} UTC"
    return None


def _training(lake: Lake, name: str) -> str | None:
    """The run that has the training lease of the model now."""
    held = lease_holder(lake, name)
    return f"run {held.holder}, lease until {held.expires:%Y-%m-%d %H:%M:%S} UTC" if held else None


def _brought(entry: Entry, production: str) -> bool:
    """Whether this entry put the version into production."""
    if entry.kind == "promoted":
        return version_name(entry) == production
    return entry.kind == "rolled_back" and entry.payload["baseline"] == production
