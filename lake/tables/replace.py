"""The replacement of whole partitions in one atomic commit, as often as their inputs change.

A keyed append (``lake.tables.tables``) cannot serve a table whose past changes: its key says "this was written once",
and that stays true when something else has been written since. Here the state stands in the rows
(``lake.tables.partitions``). A replacement compares on exactly the snapshot that it commits on, and leaves alone what
is there already: a retry, a doubled run or a kill at any point ends in the same rows, and no reader ever sees a
partition half.

Only whole partitions are replaced, and a data file belongs to one partition, so no file is ever rewritten in part.
"""

import contextlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from errors import CommitContended, PeerError
from lake.contracts.base import Contract
from lake.tables.partitions import Partition, files, origins, origins_by_partition, partition_values
from lake.tables.tables import INPUTS, KEY, TRIES, Tables
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction

REPLACED = "fuelline.partitions"
"""In a snapshot's summary: the partitions that it replaced."""
PINNED = "fuelline.pinned."
"""Table properties: the newest snapshot of each input that was built from, as its sequence number."""
NONCE = "fuelline.nonce"


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """What became of a replacement."""

    version: TableVersion | None
    """The table afterwards; None where it has never held a row."""
    replaced: tuple[Partition, ...]
    """The partitions that this call replaced; the others were there already."""
    overtaken: bool = False
    """A newer version of an input has been built from: nothing was written."""


def replace_partitions(
    tables: Tables,
    contract: Contract,
    partitions: Iterable[Partition],
    rows: pa.Table,
    *,
    inputs: Sequence[TableVersion],
) -> Replacement:
    """Let each of ``partitions`` hold the given rows and no others, in one commit; write nothing where they do already.

    Args:
        tables: of the lake.
        contract: says the table and its form; it has a column ``built_from``.
        partitions: what is replaced; one without rows becomes empty.
        rows: in the contract's columns, none outside of ``partitions``.
        inputs: the versions that the rows were computed from. Where a newer version of one of them has been built
            from, nothing is written: a run that was overtaken never puts old rows over new ones.

    Raises:
        CommitContended: the commit lost its race 40 times.
        PeerError: the catalogue failed.
    """
    wanted = _wanted(contract, partitions, rows)
    pins = {PINNED + one.table: _sequence(tables, one) for one in inputs}
    for _ in range(TRIES):
        table = tables._ensure(contract)
        if any(int(table.properties.get(name, 0)) > number for name, number in pins.items()):
            return Replacement(version=tables.current(contract), replaced=(), overtaken=True)
        stored = origins(contract, table, list(wanted))
        due = sorted((one for one, origins in wanted.items() if origins != stored.get(one, set())), key=str)
        if not due:
            return Replacement(version=tables.current(contract), replaced=())
        if _commit(tables, contract, table, due, rows, pins, inputs):
            return Replacement(version=tables.current(contract), replaced=tuple(due))
    raise CommitContended(f"{contract.table}: {TRIES} replacements of {len(wanted)} partitions lost their race")


def _commit(
    tables: Tables,
    contract: Contract,
    table: "Table",
    due: Sequence[Partition],
    rows: pa.Table,
    pins: Mapping[str, int],
    inputs: Sequence[TableVersion],
) -> bool:
    """One try, on exactly the snapshot that was compared. False if the race was lost: begin again."""
    from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException

    nonce, fresh = secrets.token_hex(16), _written(contract, table, due, rows)
    transaction = _staged(contract, table, due, fresh, {NONCE: nonce, **_told(due, inputs, nonce)})
    transaction.set_properties({name: str(number) for name, number in pins.items()})
    try:
        transaction.commit_transaction()
    except (CommitFailedException, CommitStateUnknownException) as error:
        return _took_effect(tables, contract, nonce) or _discard(table, fresh, error)
    except Exception as error:  # whatever the catalogue raised: its reply may be lost and the commit in effect
        if _took_effect(tables, contract, nonce):
            return True
        raise PeerError(f"{contract.table}: the commit failed with {type(error).__name__}") from error
    return True


def _staged(
    contract: Contract,
    table: "Table",
    due: Sequence[Partition],
    fresh: Sequence["DataFile"],
    summary: Mapping[str, str],
) -> "Transaction":
    """The old files of these partitions out and the fresh ones in, as one snapshot."""
    transaction = table.transaction()
    with transaction.update_snapshot(snapshot_properties=dict(summary)).overwrite() as overwrite:
        for old in files(contract, table, due):
            overwrite.delete_data_file(old)
        for file in fresh:
            overwrite.append_data_file(file)
    return transaction


def _told(due: Sequence[Partition], inputs: Sequence[TableVersion], nonce: str) -> dict[str, str]:
    """What the snapshot's summary says of itself: its key is its own, because states may come back."""
    return {
        KEY: f"replaced:{nonce}",
        INPUTS: json.dumps([str(version) for version in inputs]),
        REPLACED: json.dumps([str(one) for one in due]),
    }


def _took_effect(tables: Tables, contract: Contract, nonce: str) -> bool:
    snapshots = tables.load(contract.table).snapshots()
    return any(one.summary and one.summary.get(NONCE) == nonce for one in snapshots)


def _discard(table: "Table", files: Sequence["DataFile"], error: Exception) -> bool:
    """Remove what a lost try wrote; where nobody can tell whether it did commit, its files stay."""
    from pyiceberg.exceptions import CommitFailedException

    if isinstance(error, CommitFailedException):
        for file in files:
            with contextlib.suppress(OSError):  # an orphan costs space, a failure here would cost the build
                table.io.delete(file.file_path)
    return False


def _written(contract: Contract, table: "Table", due: Sequence[Partition], rows: pa.Table) -> list["DataFile"]:
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    chosen = rows.filter(pc.is_in(partition_values(contract, rows), pa.array(due)))
    typed = chosen.select(contract.arrow_schema.names).cast(contract.arrow_schema)
    return list(_dataframe_to_data_files(table.metadata, typed, table.io)) if typed.num_rows else []


def _wanted(contract: Contract, partitions: Iterable[Partition], rows: pa.Table) -> dict[Partition, set[str]]:
    """What the table is to say of each partition: nothing where it has no rows."""
    found = origins_by_partition(contract, rows)
    wanted = {one: found.pop(one, set()) for one in partitions}
    if found:
        raise ValueError(f"{contract.table}: rows outside of the partitions to replace: {sorted(map(str, found))}")
    return wanted


def _sequence(tables: Tables, version: TableVersion) -> int:
    snapshot = tables.load(version.table).snapshot_by_id(version.snapshot_id)
    return (snapshot.sequence_number if snapshot else None) or 0
