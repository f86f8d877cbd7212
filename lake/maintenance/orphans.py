"""Orphans: objects in a table's place that no snapshot refers to, left by killed writers and by expired snapshots.

Expiry and compaction forget files, they delete none. What is referred to is everything that any retained snapshot
needs (tagged ones are retained), its statistics, and the history of the table's metadata. The listing is taken before
the metadata are read, so a commit in between only adds to what is referred to; and what is younger than the grace
period may belong to a commit in flight, so it is left alone whoever refers to it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from errors import IntegrityError
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.store.objects import ObjectInfo

if TYPE_CHECKING:
    from pyiceberg.table import Table

GRACE = timedelta(days=3)
"""Longer than any commit takes from its first file to its last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orphans:
    """What nothing refers to."""

    keys: tuple[str, ...]
    """In the object store, in order."""
    bytes: int
    kept: int
    """Objects of the table that are referred to, or too young to tell."""


def remove_orphans(lake: Lake, contract: Contract, *, grace: timedelta = GRACE, dry_run: bool = False) -> Orphans:
    """Delete the orphans of a table; with ``dry_run`` only find them.

    Raises:
        UnknownName: there is no such table.
        IntegrityError: the table's own metadata are not where it says, so that nothing can be told from a listing.
    """
    place = _key(lake, lake.tables.load(contract.table).location())
    listed = list(lake.store.list_objects(f"{place}/"))
    known = referenced(lake, lake.tables.load(contract.table))
    limit = lake.ledger.clock() - grace
    orphans = [one for one in listed if one.key not in known and one.modified < limit]
    _require_plausible(lake, contract, listed)
    if not dry_run:
        for one in orphans:
            lake.store.delete(one.key)
    return Orphans(
        keys=tuple(one.key for one in orphans),
        bytes=sum(one.size for one in orphans),
        kept=len(listed) - len(orphans),
    )


def referenced(lake: Lake, table: "Table") -> set[str]:
    """Keys of every object that the table's metadata, history and retained snapshots refer to."""
    return {_key(lake, path) for path in _paths(table)}


def _paths(table: "Table") -> Iterator[str]:
    metadata = table.metadata
    yield table.metadata_location
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (one.statistics_path for one in metadata.statistics)
    yield from (one.statistics_path for one in metadata.partition_statistics)
    seen: set[str] = set()
    for snapshot in metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            yield manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                yield entry.data_file.file_path


def _require_plausible(lake: Lake, contract: Contract, listed: list[ObjectInfo]) -> None:
    """The newest metadata must be there under the very name that a listing gives it, or names are not comparable."""
    newest = _key(lake, lake.tables.load(contract.table).metadata_location)
    if listed and not lake.store.exists(newest):
        raise IntegrityError(
            f"{contract.table}: its metadata {newest} are not in {lake.store.address}. FUELLINE_STORE names another "
            "store than the one the table was made in; nothing was deleted"
        )


def _key(lake: Lake, path: str) -> str:
    """The store's key of a path as Iceberg writes it.

    Raises:
        IntegrityError: the path lies outside the store.
    """
    plain = re.sub(r"^(file://|file:(?=/)|s3[an]://)", lambda found: "" if found[0][0] == "f" else "s3://", path)
    root = lake.store.address.rstrip("/") + "/"
    if not plain.startswith(root):
        raise IntegrityError(f"{path} lies outside the store {lake.store.address}; nothing was deleted")
    return plain.removeprefix(root)
