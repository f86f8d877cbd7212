"""Care of the tables: the daily round, and retention, which retires what stood on rows that have to go."""

from dataclasses import dataclass
from datetime import datetime

from lake.lake import Lake
from lake.maintenance.retention import Due
from lake.maintenance.run import CareRule, Upkeep
from models.retraining.retire import Successor
from models.triggers.rules import RetryBackoff
from tasks.environments import cpu
from tasks.runtime import due, lake, log, publish


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """What one run of retention found, and what it led to."""

    dry_run: bool
    due: list[Due]
    """Data sets that had rows or raw objects past their retention."""
    retired: list[str]
    """Versions that this retired, such as ``agents@v3``."""
    successors: list[Successor]
    """Of retired versions in production."""


@cpu
def care_for_tables(rule: CareRule, dry_run: bool) -> list[Upkeep]:
    """Compact, expire and clear up every table; with ``dry_run`` only tell what would be done."""
    done = _round(lake(), rule, dry_run=dry_run)
    _show_round([done])
    return done


@cpu
def care_due(rule: CareRule, kickoff: datetime, every_minutes: int, schedule: str) -> list[Upkeep]:
    """The same, once a window; empty where an earlier run has done it."""
    here = lake()
    done = due(here, schedule, lambda _: _round(here, rule), kickoff=kickoff, every_minutes=every_minutes)
    _show_round(done)
    return done[-1] if done else []


@cpu
def enforce_retention(patience: RetryBackoff, dry_run: bool) -> Retention:
    """Retire what stands on rows past their retention, remove them, ask for successors; or only tell."""
    here = lake()
    done = _enforce(here, here.ledger.clock(), patience, dry_run=dry_run)
    _show_retention([done])
    return done


@cpu
def retention_due(patience: RetryBackoff, kickoff: datetime, every_minutes: int, schedule: str) -> list[Retention]:
    """The same, once a window; empty where an earlier run has done it."""
    here = lake()
    done = due(
        here,
        schedule,
        lambda window: _enforce(here, window.end, patience),
        kickoff=kickoff,
        every_minutes=every_minutes,
    )
    _show_retention(done)
    return done


def _round(here: Lake, rule: CareRule, *, dry_run: bool = False) -> list[Upkeep]:
    from lake.contracts import contracts
    from lake.maintenance.run import look_after

    found = [look_after(here, contract, rule, dry_run=dry_run) for contract in contracts().values()]
    return [one for one in found if one]


def _enforce(here: Lake, now: datetime, patience: RetryBackoff, *, dry_run: bool = False) -> Retention:
    """Retire before rows go: a run that dies in between finds them again, and a model never stands on less unsaid."""
    from lake.contracts import contracts
    from lake.maintenance.retention import find_due, remove
    from models.retraining.retire import replace_retired, retire

    found = {contract.name: find_due(here, contract, now) for contract in contracts().values()}
    found = {name: one for name, one in found.items() if not one.nothing}
    told = Retention(dry_run=dry_run, due=list(found.values()), retired=[], successors=[])
    if dry_run:
        return told
    retired = [name for one in found.values() for name in retire(here, one.tags, one.data_set, one.cut)]
    for name, one in found.items():
        remove(here, contracts()[name], one)
    successors = replace_retired(here, patience, now.date().isoformat())
    return Retention(dry_run=False, due=told.due, retired=retired, successors=successors)


def _show_round(rounds: list[list[Upkeep]]) -> None:
    from reports.charts.common import note, table

    if not rounds:
        publish(91, "Table care", note("An earlier run has done the work of this one, or is at it."))
    for one in (one for done in rounds for one in done):
        log.info(
            "%s: %d files to %d, %d snapshots to %d, %d orphans",
            one.table,
            one.before.files,
            one.after.files,
            one.before.snapshots,
            one.after.snapshots,
            one.orphans,
        )
    rows = [
        {
            "table": one.table,
            "rows": one.after.rows,
            "files": f"{one.before.files:,} → {one.after.files:,}",
            "mean MB": one.after.mean_mb,
            "lists of files": f"{one.before.manifests:,} → {one.after.manifests:,}",
            "snapshots": f"{one.before.snapshots:,} → {one.after.snapshots:,}",
            "rewritten": f"{one.compacted.files_before:,} → {one.compacted.files_after:,}",
            "expired": one.expired,
            "orphans": f"{one.orphans:,} ({one.orphan_mb:.1f} MB)",
        }
        for done in rounds
        for one in done
    ]
    if rows:
        publish(91, "Table care", table(rows))


def _show_retention(done: list[Retention]) -> None:
    from reports.charts.common import facts, note, table

    if not done:
        publish(92, "Retention", note("An earlier run has done the work of this one, or is at it."))
    for one in done:
        for due_ in one.due:
            words = "would go" if one.dry_run else "gone"
            log.info("%s: %d rows before %s %s", due_.data_set, due_.rows, due_.cut, words)
        rows = [
            {
                "data set": found.data_set,
                "before": found.cut,
                "rows": found.rows,
                "from": found.first,
                "tags": ", ".join(found.tags),
                "raw objects": found.raw_objects,
            }
            for found in one.due
        ]
        asked = {one.version: f"{one.answer.replace('_', ' ')}: {one.detail}" for one in one.successors}
        parts = [table(rows)] if rows else [note("Nothing is past its retention.")]
        if one.retired or asked:
            parts.append(facts({"retired": ", ".join(one.retired) or "none new", **asked}))
        publish(92, "Retention", *parts)
