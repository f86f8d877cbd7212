"""The replacement of whole partitions in one atomic commit, as often as their inputs change.

A keyed append (``lake.tables.append``) cannot serve a table whose past changes: a key that was committed once stays
committed, whatever is written later. Here the state is in the rows (``lake.tables.partitions``). A replacement commits
on exactly the snapshot that it compared, and leaves alone what is up to date. So a retry, a doubled run or a kill at
any point ends in the same rows, and no reader sees half a partition.

Only whole partitions are replaced, and a data file belongs to one partition: no file is ever rewritten in part.
"""

import contextlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lake.contracts.base import Contract
from lake.tables.append import write_files
from lake.tables.commit import CommitOutcome, commit_once, retry_commit
from lake.tables.partitions import Partition, data_files, origins, origins_by_partition, partition_values
from lake.tables.properties import INPUTS, KEY, NONCE, PINNED, REPLACED
from lake.tables.tables import Tables
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyiceberg.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """The result of a replacement."""

    version: TableVersion | None
    """The table afterwards; None where it has never held a row."""
    replaced: tuple[Partition, ...]
    """The partitions that this call replaced; the others were up to date."""
    overtaken: bool = False
    """Rows from a newer version of an input are in the table: nothing was written."""


def replace_partitions(
    tables: Tables,
    contract: Contract,
    partitions: Iterable[Partition],
    rows: pa.Table,
    *,
    inputs: Sequence[TableVersion],
) -> Replacement:
    """Make each of ``partitions`` hold the given rows and no others, in one commit; skip those that do already.

    Args:
        tables: of the lake.
        contract: names the table and its columns; it has a column ``built_from``.
        partitions: what is replaced; one without rows becomes empty.
        rows: in the contract's columns. Raises ``ValueError`` where some are outside of ``partitions``.
        inputs: the versions that the rows were computed from. If the table was already built from a newer version of
            one of them, nothing is written: a slow run never puts old rows over new ones.
    """
    found = origins_by_partition(contract, rows)
    wanted = {partition: found.pop(partition, set()) for partition in partitions}
    if found:
        raise ValueError(f"{contract.table}: rows outside of the partitions to replace: {sorted(map(str, found))}")
    pins = {PINNED + version.table: _sequence_number(tables, version) for version in inputs}

    def attempt() -> Replacement | None:
        table = tables.ensure(contract)
        if any(int(table.properties.get(name, 0)) > number for name, number in pins.items()):
            return Replacement(version=tables.current(contract), replaced=(), overtaken=True)
        stored = origins(contract, table, list(wanted))
        due = sorted((name for name, built_from in wanted.items() if built_from != stored.get(name, set())), key=str)
        if due and not _commit(tables, contract, table, due, rows, pins, inputs):
            return None
        return Replacement(version=tables.current(contract), replaced=tuple(due))

    return retry_commit(attempt, contract.table, f"a replacement of {len(wanted)} partitions")


def _commit(
    tables: Tables,
    contract: Contract,
    table: "Table",
    due: Sequence[Partition],
    rows: pa.Table,
    pins: Mapping[str, int],
    inputs: Sequence[TableVersion],
) -> bool:
    """Remove the old files of these partitions and add new ones as one snapshot, on exactly the snapshot that was
    compared. False if another writer was first.
    """
    chosen = rows.filter(pc.is_in(partition_values(contract, rows), pa.array(due)))
    new = list(write_files(table, chosen.select(contract.arrow_schema.names).cast(contract.arrow_schema)))
    nonce = secrets.token_hex(16)
    summary = {
        NONCE: nonce,
        KEY: f"replaced:{nonce}",  # each replacement has a key of its own, because a state may come back
        INPUTS: json.dumps([str(version) for version in inputs]),
        REPLACED: json.dumps([str(partition) for partition in due]),
    }
    transaction = table.transaction()
    with transaction.update_snapshot(snapshot_properties=summary).overwrite() as overwrite:
        for old in data_files(contract, table, due):
            overwrite.delete_data_file(old)
        for file in new:
            overwrite.append_data_file(file)
    transaction.set_properties({name: str(number) for name, number in pins.items()})

    def in_effect() -> bool:
        snapshots = tables.load(contract.table).snapshots()
        return any(snapshot.summary and snapshot.summary.get(NONCE) == nonce for snapshot in snapshots)

    outcome = commit_once(transaction, contract.table, in_effect)
    if outcome is CommitOutcome.CONFLICT:
        for file in new:
            with contextlib.suppress(OSError):  # an orphan costs space, a failure here would cost the build
                table.io.delete(file.file_path)
    return outcome is CommitOutcome.DONE


def _sequence_number(tables: Tables, version: TableVersion) -> int:
    snapshot = tables.load(version.table).snapshot_by_id(version.snapshot_id)
    return (snapshot.sequence_number if snapshot else None) or 0
