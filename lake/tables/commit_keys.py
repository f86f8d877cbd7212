"""The key of a commit: what its rows were made from. A key is committed once per table.

The key is in the summary of the commit's snapshot. Snapshots expire, so a marker, a small object named by the key's
digest, keeps version and summary for a late retry.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from errors import ObjectMissing
from lake.store.objects import ObjectStore
from lake.tables.properties import KEY
from lake.tables.versions import TableVersion, version_of

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyedCommit:
    """A commit under a key."""

    version: TableVersion
    summary: dict[str, str]
    """Of its snapshot; it holds the key."""

    @classmethod
    def of(cls, table: str, snapshot: "Snapshot") -> "KeyedCommit":
        summary = dict(snapshot.summary.additional_properties) if snapshot.summary else {}
        return cls(version=version_of(table, snapshot), summary=summary)


def find_commit(store: ObjectStore, table: "Table", key: str) -> KeyedCommit | None:
    """The commit under a key, from the table's snapshots or, if its snapshot has expired, from its marker."""
    name = ".".join(table.name())
    for snapshot in table.snapshots():
        if snapshot.summary and snapshot.summary.additional_properties.get(KEY) == key:
            return KeyedCommit.of(name, snapshot)
    try:
        marker = json.loads(store.read(_marker(name, key)))
    except ObjectMissing:
        return None
    version = TableVersion(table=name, snapshot_id=marker["snapshot_id"], rows=marker["rows"])
    return KeyedCommit(version=version, summary=marker["summary"])


def keep_marker(store: ObjectStore, commit: KeyedCommit) -> None:
    """Write the commit's marker if there is none; a commit without a key has none."""
    if not (key := commit.summary.get(KEY)):
        return
    name = _marker(commit.version.table, key)
    if not store.exists(name):
        marker = {"snapshot_id": commit.version.snapshot_id, "rows": commit.version.rows, "summary": commit.summary}
        store.write(name, json.dumps(marker).encode())


def _marker(table: str, key: str) -> str:
    return f"markers/{table}/{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
