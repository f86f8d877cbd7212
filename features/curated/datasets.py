"""``ml.training_datasets``: one row for each training set, from its rows and its entries in the ledger.

Its partitions are the sets. The rows of a set never change, but its use does: a training or a registration in the
ledger makes the set's row due, by a digest as for days (``features.curated.build``).
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import ibis
import pyarrow as pa

from features.curated import transforms
from features.curated.tables import Build, result
from lake.contracts.training_datasets import TRAINING_DATASETS
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.engine import as_ibis, definition_of, ibis_engine
from lake.tables.partitions import BUILT_FROM, built_from, files_by_partition
from lake.tables.replace import replace_partitions
from lake.tables.versions import TableVersion

COLUMNS = ("training_set_id", "split", "timestamp", "agent_name", "user_id", "feedback", "weight")
"""Columns that are read of a set: no text."""
TRAININGS = pa.schema(
    [
        ("training_set_id", pa.string()),
        ("model", pa.string()),
        ("cut", pa.timestamp("us", tz="UTC")),
        ("inputs", pa.string()),
        ("trainings", pa.int64()),
        ("model_versions", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trainings:
    """The ledger's record of one training set."""

    training_set_id: str
    model: str
    cut: str
    inputs: str
    trainings: int
    model_versions: str | None


def build_datasets(lake: Lake) -> Build:
    """Rebuild the row of every training set whose rows or ledger entries have changed.

    Raises:
        CommitContended: a commit lost its race too often.
    """
    pinned = lake.tables.current(TRAINING_SETS)
    inputs = [pinned] if pinned else []
    recorded = trainings(lake)
    wanted = _digests(lake, pinned, recorded) if pinned else {}
    stored = built_from(lake.tables, TRAINING_DATASETS)
    rebuilt: list[str] = []
    for name in sorted(wanted.keys() | {str(partition) for partition in stored}):
        if stored.get(name, set()) == ({wanted[name]} if name in wanted else set()):
            continue
        rows = _row(lake, pinned, name, recorded, wanted) if pinned and name in wanted else _empty()
        done = replace_partitions(lake.tables, TRAINING_DATASETS, [name], rows, inputs=inputs)
        rebuilt.extend(map(str, done.replaced))
    return result(lake, TRAINING_DATASETS, inputs, rebuilt)


def trainings(lake: Lake) -> dict[str, Trainings]:
    """For each training set its model, its inputs, the number of trainings and the registered versions."""
    entries: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
    versions: dict[str, list[str]] = defaultdict(list)
    for chain in lake.ledger.chains("models/"):
        model = chain.partition("/")[2]
        for entry in lake.ledger.entries(chain, kind="registered"):
            versions[entry.payload["training_key"]].append(f"{model}@v{entry.payload['version']}")
        for entry in lake.ledger.entries(chain, kind="trained"):
            entries[entry.payload["training_set_id"]].append((model, entry))
    return {name: _trainings(name, trained, versions) for name, trained in entries.items()}


def _trainings(name: str, entries: Sequence[tuple[str, Entry]], versions: Mapping[str, list[str]]) -> Trainings:
    model, first = entries[0]
    registered = [name for _, entry in entries for name in versions.get(entry.payload["training_key"], [])]
    return Trainings(
        training_set_id=name,
        model=model,
        cut=first.payload["cut"],
        inputs=", ".join(first.payload["inputs"][:-1]),  # the last input is the set itself
        trainings=len(entries),
        model_versions=", ".join(registered) or None,
    )


def definition() -> str:
    """The transform as DuckDB SQL."""
    return definition_of(expression())


def expression() -> ibis.Table:
    """The transform over unbound tables."""
    schema = TRAINING_SETS.arrow_schema
    rows = pa.schema([schema.field(name) for name in COLUMNS])
    return transforms.training_datasets(
        ibis.table(ibis.Schema.from_pyarrow(rows), name="training_sets", database="ml"),
        ibis.table(ibis.Schema.from_pyarrow(TRAININGS), name="trainings"),
    )


def compute(rows: pa.Table, recorded: Sequence[Trainings]) -> pa.Table:
    """The transform's rows in the contract's form, without ``built_from``; pure, on DuckDB."""
    engine = ibis_engine()
    records = [asdict(training) | {"cut": datetime.fromisoformat(training.cut)} for training in recorded]
    table = pa.Table.from_pylist(records, schema=TRAININGS)
    datasets = engine.to_pyarrow(
        transforms.training_datasets(as_ibis(engine, "training_sets", rows), as_ibis(engine, "trainings", table))
    )
    fields = [field for field in TRAINING_DATASETS.arrow_schema if field.name != BUILT_FROM]
    return datasets.select([field.name for field in fields]).cast(pa.schema(fields))


def _digests(lake: Lake, pinned: TableVersion, recorded: Mapping[str, Trainings]) -> dict[str, str]:
    digests, sql = {}, definition()
    for name, files in files_by_partition(lake.tables, TRAINING_SETS, pinned).items():
        facts = asdict(recorded[str(name)]) if name in recorded else None
        parts = json.dumps([TRAINING_DATASETS.table, TRAINING_DATASETS.version, sql, files, facts])
        digests[str(name)] = hashlib.sha256(parts.encode()).hexdigest()[:32]
    return digests


def _row(
    lake: Lake, pinned: TableVersion, name: str, recorded: Mapping[str, Trainings], wanted: Mapping[str, str]
) -> pa.Table:
    rows = lake.tables.read(pinned, columns=COLUMNS, where=f"training_set_id == '{name}'")
    row = compute(rows, [recorded[name]] if name in recorded else [])
    return row.append_column(BUILT_FROM, pa.array([wanted[name]] * row.num_rows, pa.string()))


def _empty() -> pa.Table:
    return TRAINING_DATASETS.arrow_schema.empty_table()
