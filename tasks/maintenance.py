"""Care of the tables: the daily round, and retention, which retires what stood on rows that have to go."""

from dataclasses import dataclass
from datetime import datetime

from lake.lake import Lake
from lake.maintenance.retention import Due
from lake.maintenance.run import CareRule, Upkeep
from models.retraining.retire import Successor
from models.triggers.rules import RetryBackoff
from tasks.environments import cpu
from tasks.runtime import due, lake, log, publish, publish_nothing_due


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
    from reports.decks.maintenance import maintenance_deck

    if not rounds:
        publish_nothing_due(91, "Table care")
    tables = [one for done in rounds for one in done]
    for one in tables:
        log.info(
            "%s: %d files to %d, %d snapshots to %d, %d orphans",
            one.table,
            one.before.files,
            one.after.files,
            one.before.snapshots,
            one.after.snapshots,
            one.orphans,
        )
    if tables:
        publish(91, "Table care", *maintenance_deck(tables))


def _show_retention(done: list[Retention]) -> None:
    from reports.decks.maintenance import retention_deck

    if not done:
        publish_nothing_due(92, "Retention")
    for one in done:
        for found in one.due:
            words = "would be removed" if one.dry_run else "removed"
            log.info("%s: %d rows before %s %s", found.data_set, found.rows, found.cut, words)
        publish(92, "Retention", *retention_deck(one.due, one.retired, one.successors))
