"""Decks of the daily table maintenance and of retention."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lake.contracts import contract
from lake.maintenance.retention import RetentionDue
from lake.maintenance.run import TableMaintenance
from reports.common.html import facts, note, table
from reports.common.ledger_text import words

if TYPE_CHECKING:
    from models.retraining.retire import Successor


def maintenance_deck(tables: Iterable[TableMaintenance]) -> list[str]:
    """A row for each table: its files and snapshots before and after."""
    return [
        table(
            [
                {
                    "table": done.table,
                    "rows": done.after.rows,
                    "files": f"{done.before.files:,} → {done.after.files:,}",
                    "mean MB": done.after.mean_mb,
                    "manifests": f"{done.before.manifests:,} → {done.after.manifests:,}",
                    "snapshots": f"{done.before.snapshots:,} → {done.after.snapshots:,}",
                    "rewritten": f"{done.compacted.files_before:,} → {done.compacted.files_after:,}",
                    "expired": done.expired,
                    "orphans": f"{done.orphans:,} ({done.orphan_mb:.1f} MB)",
                }
                for done in tables
            ]
        )
    ]


def retention_deck(due: Sequence[RetentionDue], retired: Sequence[str], successors: "Sequence[Successor]") -> list[str]:
    """What was past its retention, the versions that were retired for it, and the requests for their successors."""
    rows = [
        {
            "table": contract(found.data_set).table,
            "before": found.cut,
            "rows": found.rows,
            "from": found.first,
            "tags": ", ".join(found.tags),
            "raw objects": found.raw_objects,
        }
        for found in due
    ]
    parts: list[str] = [table(rows)] if rows else [note("Nothing is past its retention.")]
    requests = {successor.version: f"{words(successor.answer)}: {successor.detail}" for successor in successors}
    if retired or requests:
        parts.append(facts({"retired": ", ".join(retired) or "none new", **requests}))
    return parts
