"""Trino's share of the daily table maintenance, as SQL: ``fuelline docs trino-maintenance > maintenance.sql``.

On a cluster whose tables Trino reads, it has the machines to rewrite large ones, and it respects the row-level deletes
that only it writes. No client for it is installed here, so the statements are printed for the tables that the lake has,
because ``trino --file`` stops at the first table that does not exist. Run the file on a Trino whose catalogue of that
name is writable (``deploy/trino/maintenance``), from a CronJob before ``care_daily``, and set ``files=False`` in the
``MaintenancePolicy`` of that launch plan, so that only one of the two rewrites files. ``care_daily`` still expires
the snapshots: Trino does not know which of them are counted from, nor that a key has to outlive its snapshot.

Trino's rewrites are ``replace`` snapshots, which count as no new rows.
"""

from collections.abc import Iterable, Iterator

from lake.contracts.base import Contract
from lake.maintenance.run import MaintenancePolicy

CATALOG = "fuelline"
"""The lake's catalogue in Trino: read only in ``deploy/trino/catalog``, writable in ``deploy/trino/maintenance``."""


def statements(declared: Iterable[Contract], rule: MaintenancePolicy) -> Iterator[str]:
    """The statements, in order, each without its semicolon.

    Trino refuses a grace period below ``iceberg.remove-orphan-files.min-retention``, by default seven days, so it is at
    least that.
    """
    for contract in declared:
        namespace, _, name = contract.table.partition(".")
        table = f'{CATALOG}."{namespace}"."{name}"'
        size = max(1, round(rule.compaction.target_mb))
        yield f"ALTER TABLE {table} EXECUTE optimize(file_size_threshold => '{size}MB')"
        yield f"ALTER TABLE {table} EXECUTE remove_orphan_files(retention_threshold => '{max(7, rule.grace_days)}d')"
        yield f"ANALYZE {table}"
