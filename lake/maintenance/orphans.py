"""Orphans: objects in a table's location that no snapshot refers to, left by killed writers and expired snapshots.

Expiry and compaction only drop references to files. Referenced is everything that a retained snapshot needs (tagged
ones are retained), the statistics, and the history of the table's metadata. The objects are listed before the metadata
are read, so a commit in between only adds references; and objects younger than the grace period are never removed,
because they may belong to a commit in progress.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from errors import IntegrityError
from lake.contracts.base import Contract
from lake.lake import Lake

if TYPE_CHECKING:
    from pyiceberg.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Orphans:
    """Objects that nothing refers to."""

    keys: tuple[str, ...]
    """Keys in the object store, in order."""
    bytes: int


def remove_orphans(lake: Lake, contract: Contract, *, grace: timedelta, dry_run: bool = False) -> Orphans:
    """Delete the orphans of a table, or only find them. ``grace`` has to be longer than any commit takes from its first
    file to its last.

    Raises:
        UnknownName: there is no such table.
        IntegrityError: the table's metadata are not in this store, so a listing of it proves nothing.
    """
    listed = list(lake.store.list_objects(f"{_key(lake, lake.tables.load(contract.table).location())}/"))
    table = lake.tables.load(contract.table)
    known = {_key(lake, path) for path in _paths(table)}
    limit = lake.ledger.clock() - grace
    orphans = [stored for stored in listed if stored.key not in known and stored.modified < limit]
    newest = _key(lake, table.metadata_location)
    if not lake.store.exists(newest):  # the keys of a listing are not those of the metadata's paths
        raise IntegrityError(
            f"{contract.table}: its metadata {newest} are not in {lake.store.address}. FUELLINE_STORE is another "
            "store than the one that the table was created in; nothing was deleted"
        )
    if not dry_run:
        for orphan in orphans:
            lake.store.delete(orphan.key)
    return Orphans(keys=tuple(orphan.key for orphan in orphans), bytes=sum(orphan.size for orphan in orphans))


def _paths(table: "Table") -> Iterator[str]:
    """Every object that the table's metadata, history and retained snapshots refer to."""
    metadata = table.metadata
    manifests = {file.manifest_path: file for snapshot in metadata.snapshots for file in snapshot.manifests(table.io)}
    yield table.metadata_location
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics))
    yield from (snapshot.manifest_list for snapshot in metadata.snapshots)
    yield from manifests
    for manifest in manifests.values():
        yield from (file.data_file.file_path for file in manifest.fetch_manifest_entry(table.io, discard_deleted=True))


def _key(lake: Lake, path: str) -> str:
    """The store's key of a path as Iceberg writes it. Raises ``IntegrityError`` where it is outside the store."""
    from lake.tables.file_io import relocated  # loads pyiceberg

    plain = re.sub(r"^(file://|file:(?=/)|s3[an]://)", lambda scheme: "" if scheme[0][0] == "f" else "s3://", path)
    root = lake.store.address.rstrip("/") + "/"
    if not root.startswith("s3://"):
        plain = relocated(plain, lake.store.address).removeprefix("file://")
    if not plain.startswith(root):
        raise IntegrityError(f"{path} is outside the store {lake.store.address}; nothing was deleted")
    return plain.removeprefix(root)
