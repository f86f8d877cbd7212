"""``ml.training_datasets``: one row for each training set, from its rows and its entries in the ledger.

Its partitions are the sets. The rows of a set never change, but its use does: a training or a registration in the
ledger makes the set's row due, by a digest as for days (``features.curated.build``).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import ibis
import pyarrow as pa

from features.curated import transforms
from features.curated.tables import Build, CuratedInput, digest, in_form, is_due, result, unbound
from features.definitions.compiled import run_transform
from lake.contracts.training_datasets import TRAINING_DATASETS
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.engine import definition_of
from lake.tables.partitions import BUILT_FROM, built_from, files_by_partition
from lake.tables.replace import replace_partitions
from lake.tables.versions import TableVersion

COLUMNS = ("training_set_id", "split", "timestamp", "agent_name", "user_id", "feedback", "weight")
"""Columns that are read of a set: no text."""
TRAININGS = pa.schema(
    {
        "training_set_id": pa.string(),
        "model": pa.string(),
        "cut": pa.timestamp("us", tz="UTC"),
        "inputs": pa.string(),
        "trainings": pa.int64(),
        "model_versions": pa.string(),
    }
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
    """Rebuild the row of every training set whose rows or ledger entries have changed. Raises ``CommitContended`` if a
    commit lost its race too often.
    """
    pinned = lake.tables.current(TRAINING_SETS)
    inputs = [pinned] if pinned else []
    recorded = trainings(lake)
    wanted = _digests(lake, pinned, recorded) if pinned else {}
    stored = built_from(lake.tables, TRAINING_DATASETS)
    rebuilt: list[str] = []
    for name in sorted(map(str, wanted.keys() | stored.keys())):
        if not is_due(stored.get(name, set()), wanted.get(name)):
            continue
        rows = TRAINING_DATASETS.arrow_schema.empty_table()
        if pinned and name in wanted:
            read = lake.tables.read(pinned, columns=COLUMNS, where=f"training_set_id == '{name}'")
            row = compute(read, [recorded[name]] if name in recorded else [])
            rows = row.append_column(BUILT_FROM, pa.array([wanted[name]] * row.num_rows, pa.string()))
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
    found = {}
    for name, trained in entries.items():
        model, first = trained[0]
        registered = [version for _, entry in trained for version in versions[entry.payload["training_key"]]]
        found[name] = Trainings(
            training_set_id=name,
            model=model,
            cut=first.payload["cut"],
            inputs=", ".join(first.payload["inputs"][:-1]),  # the last input is the set itself
            trainings=len(trained),
            model_versions=", ".join(registered) or None,
        )
    return found


def definition() -> str:
    """The transform as DuckDB SQL."""
    return definition_of(expression())


def expression() -> ibis.Table:
    """The transform over unbound tables."""
    rows = unbound(CuratedInput(contract=TRAINING_SETS, columns=COLUMNS))
    return transforms.training_datasets(rows, ibis.table(TRAININGS, name="trainings"))


def compute(rows: pa.Table, recorded: Sequence[Trainings]) -> pa.Table:
    """The transform's rows in the contract's form, without ``built_from``; pure, on DuckDB."""
    records = [asdict(training) | {"cut": datetime.fromisoformat(training.cut)} for training in recorded]
    tables = {"training_sets": rows, "trainings": pa.Table.from_pylist(records, schema=TRAININGS)}
    return in_form(TRAINING_DATASETS, run_transform(transforms.training_datasets, tables))


def _digests(lake: Lake, pinned: TableVersion, recorded: Mapping[str, Trainings]) -> dict[str, str]:
    digests: dict[str, str] = {}
    sql = definition()
    for name, files in files_by_partition(lake.tables, TRAINING_SETS, pinned).items():
        facts = asdict(recorded[str(name)]) if name in recorded else None
        digests[str(name)] = digest(TRAINING_DATASETS, sql, files, facts)
    return digests
