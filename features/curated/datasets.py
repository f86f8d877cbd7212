"""``ml.training_datasets``: the training sets there are, from their rows and from what the ledger says of each.

Its partitions are the sets. A set's rows never change, but what is made of it does: a training or a registration that
the ledger tells of makes the set's row due, by the same digest as a day's rows (``features.curated.build``).
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from features.curated import transforms
from features.curated.build import Build
from lake.contracts.training_datasets import TRAINING_DATASETS
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.engine import as_ibis, definition_of, ibis_engine
from lake.tables.partitions import BUILT_FROM, built_from, files_by_partition
from lake.tables.replace import replace_partitions
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    import ibis

COLUMNS = ("training_set_id", "split", "timestamp", "agent_name", "user_id", "feedback", "weight")
"""What is read of a set: no text."""
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
    """What the ledger says of one training set."""

    training_set_id: str
    model: str
    cut: str
    inputs: str
    trainings: int
    model_versions: str | None


def build_datasets(lake: Lake) -> Build:
    """Rebuild the row of every training set of which there is something new to say.

    Raises:
        CommitContended: a commit lost its race too often.
    """
    pinned = lake.tables.current(TRAINING_SETS)
    inputs = [pinned] if pinned else []
    said = trainings(lake)
    wanted = _digests(lake, pinned, said) if pinned else {}
    stored = built_from(lake.tables, TRAINING_DATASETS)
    rebuilt: list[str] = []
    for one in sorted(wanted.keys() | {str(name) for name in stored}):
        if stored.get(one, set()) == ({wanted[one]} if one in wanted else set()):
            continue
        rows = _row(lake, pinned, one, said, wanted) if pinned and one in wanted else _empty()
        done = replace_partitions(lake.tables, TRAINING_DATASETS, [one], rows, inputs=inputs)
        rebuilt.extend(map(str, done.replaced))
    current = lake.tables.current(TRAINING_DATASETS)
    version = [current] if current else []
    return Build(table=TRAINING_DATASETS.table, version=version, inputs=inputs, rebuilt=rebuilt)


def trainings(lake: Lake) -> dict[str, Trainings]:
    """By training set: whose it is, what it was joined from, how often it was trained on, what was registered."""
    found: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
    versions: dict[str, list[str]] = defaultdict(list)
    for chain in lake.ledger.chains("models/"):
        model = chain.partition("/")[2]
        for entry in lake.ledger.entries(chain, kind="registered"):
            versions[entry.payload["training_key"]].append(f"{model}@v{entry.payload['version']}")
        for entry in lake.ledger.entries(chain, kind="trained"):
            found[entry.payload["training_set_id"]].append((model, entry))
    return {name: _trainings(name, entries, versions) for name, entries in found.items()}


def _trainings(name: str, entries: Sequence[tuple[str, Entry]], versions: Mapping[str, list[str]]) -> Trainings:
    model, first = entries[0]
    made = [one for _, entry in entries for one in versions.get(entry.payload["training_key"], [])]
    return Trainings(
        training_set_id=name,
        model=model,
        cut=first.payload["cut"],
        inputs=", ".join(first.payload["inputs"][:-1]),  # the last one is the set itself
        trainings=len(entries),
        model_versions=", ".join(made) or None,
    )


def definition() -> str:
    """The transform as SQL of DuckDB."""
    return definition_of(expression())


def expression() -> "ibis.Table":
    """The transform over unbound tables."""
    import ibis

    schema = TRAINING_SETS.arrow_schema
    rows = pa.schema([schema.field(name) for name in COLUMNS])
    return transforms.training_datasets(
        ibis.table(ibis.Schema.from_pyarrow(rows), name="training_sets", database="ml"),
        ibis.table(ibis.Schema.from_pyarrow(TRAININGS), name="trainings"),
    )


def compute(rows: pa.Table, said: Sequence[Trainings]) -> pa.Table:
    """The transform's rows in the contract's form, but for ``built_from``; pure, on DuckDB."""
    engine = ibis_engine()
    plain = [asdict(one) | {"cut": datetime.fromisoformat(one.cut)} for one in said]
    listed = pa.Table.from_pylist(plain, schema=TRAININGS)
    made = engine.to_pyarrow(
        transforms.training_datasets(as_ibis(engine, "training_sets", rows), as_ibis(engine, "trainings", listed))
    )
    fields = [one for one in TRAINING_DATASETS.arrow_schema if one.name != BUILT_FROM]
    return made.select([one.name for one in fields]).cast(pa.schema(fields))


def _digests(lake: Lake, pinned: TableVersion, said: Mapping[str, Trainings]) -> dict[str, str]:
    found, sql = {}, definition()
    for one, files in files_by_partition(lake.tables, TRAINING_SETS, pinned).items():
        facts = asdict(said[str(one)]) if one in said else None
        told = json.dumps([TRAINING_DATASETS.table, TRAINING_DATASETS.version, sql, files, facts])
        found[str(one)] = hashlib.sha256(told.encode()).hexdigest()[:32]
    return found


def _row(
    lake: Lake, pinned: TableVersion, one: str, said: Mapping[str, Trainings], wanted: Mapping[str, str]
) -> pa.Table:
    rows = lake.tables.read(pinned, columns=COLUMNS, where=f"training_set_id == '{one}'")
    made = compute(rows, [said[one]] if one in said else [])
    return made.append_column(BUILT_FROM, pa.array([wanted[one]] * made.num_rows, pa.string()))


def _empty() -> pa.Table:
    return TRAINING_DATASETS.arrow_schema.empty_table()
