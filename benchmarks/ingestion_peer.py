"""The ingestion job written with pandas and Great Expectations, with the same rules as ours.

Chunks of 100,000 lines, one suite a chunk, bad rows left out, good ones appended to Iceberg in one transaction. The
suite's uniqueness ends with the chunk, so the keys seen before are kept beside it. What it cannot do is left out of
the comparison, and of the input: a line that is no JSON ends ``read_json`` with an error.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import great_expectations as gx  # type: ignore[import-not-found]
import pandas as pd
import pyarrow as pa
from great_expectations import expectations as gxe

from benchmarks.harness import Figures
from benchmarks.interactions import LANDED
from benchmarks.tables import fresh_table
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.base import Column
from lake.contracts.registries import REGISTRIES

CHUNK_ROWS = 100_000
TIMESTAMP = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-][01]\d(:?[0-5]\d)?)$"
KEY, INSTANT = "interaction_id", ["timestamp", "agent_name"]


def ingest(log: str, sample: str, scratch: str) -> Figures:
    """Ingest the log into a fresh table."""
    Path(scratch, "warm-up").mkdir()
    _ingest(sample, Path(scratch, "warm-up"))
    began = time.perf_counter()
    counts = _ingest(log, Path(scratch))
    return {"seconds": time.perf_counter() - began, **counts}


def _ingest(log: str, folder: Path) -> dict[str, float]:
    counts: Counter[str] = Counter()
    check = _Check()
    with fresh_table(folder).transaction() as transaction:
        for chunk in pd.read_json(log, lines=True, chunksize=CHUNK_ROWS, convert_dates=False, dtype=_TYPES):
            rows = chunk.reset_index(drop=True)
            bad, repeated = check(rows)
            good = _typed(rows[~(bad | repeated)])
            future = good["timestamp"] > LANDED
            transaction.append(_arrow(good[~future]))
            late = int(future.sum())
            counts.update(committed=len(good) - late, quarantined=int(bad.sum()) + late, duplicates=int(repeated.sum()))
    return {name: float(counts[name]) for name in ("committed", "quarantined", "duplicates")}


_TYPES = {column.name: "object" for column in AGENT_INTERACTIONS.columns if pa.types.is_string(column.type)}


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.assign(timestamp=pd.to_datetime(rows["timestamp"], format="ISO8601", utc=True))
    return rows.astype({"feedback": "Int64"})


def _arrow(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows[AGENT_INTERACTIONS.arrow_schema.names], AGENT_INTERACTIONS.arrow_schema)


class _Check:
    """One suite, and the identifiers of the rows accepted so far."""

    def __init__(self) -> None:
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("interactions")
        self._batches = asset.add_batch_definition_whole_dataframe("chunk")
        self._suite = gx.ExpectationSuite(name="interactions", expectations=_expectations())
        context.suites.add(self._suite)
        self._seen: set[str] = set()

    def __call__(self, chunk: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
        """The rows that break a rule, and those that only repeat one."""
        batch = self._batches.get_batch({"dataframe": chunk})
        result = batch.validate(self._suite, result_format="COMPLETE")  # the only format that lists the rows
        bad, suspect = _flagged(result, len(chunk))
        repeated = chunk[KEY].isin(self._seen)
        if suspect.any():  # Great Expectations lists all equal rows; the first is good
            repeated |= suspect & chunk[KEY].duplicated()
            bad |= suspect & ~repeated & chunk[INSTANT].duplicated()
        self._seen.update(chunk[KEY][~bad])
        return bad, repeated & ~bad


def _flagged(result: Any, rows: int) -> tuple[pd.Series, pd.Series]:
    """Rows that break a rule by themselves, and rows that repeat another."""
    bad, suspect = pd.Series(False, range(rows)), pd.Series(False, range(rows))
    for each in result.results:
        if each.success:
            continue
        if "unexpected_index_list" not in each.result:
            raise RuntimeError(f"{each.expectation_config.type} did not run: {each.exception_info}")
        (suspect if "unique" in each.expectation_config.type else bad)[each.result["unexpected_index_list"]] = True
    return bad, suspect


def _expectations() -> list[Any]:
    """The contract's rules."""
    columns = AGENT_INTERACTIONS.columns
    found: list[Any] = [
        gxe.ExpectTableColumnsToMatchSet(column_set=[column.name for column in columns], exact_match=True),
        gxe.ExpectColumnValuesToBeUnique(column=KEY),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=INSTANT),
        gxe.ExpectColumnValuesToMatchRegex(column="timestamp", regex=TIMESTAMP),
        gxe.ExpectColumnValuesToBeInSet(column="error", value_set=[True, False]),
    ]
    for column in columns:
        found += _rules(column)
    return found


def _rules(column: Column) -> list[Any]:
    rules: list[Any] = []
    if column.required:
        rules.append(gxe.ExpectColumnValuesToNotBeNull(column=column.name))
    if column.registry:
        rules.append(gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=sorted(REGISTRIES[column.registry])))
    elif column.max_length:
        rules.append(gxe.ExpectColumnValueLengthsToBeBetween(column=column.name, max_value=column.max_length))
    if column.allowed:
        rules.append(gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.allowed)))
    if column.low is not None or column.high is not None:
        for failed, low in ((False, column.low), (True, column.low_if_failed)):
            rules.append(
                gxe.ExpectColumnValuesToBeBetween(
                    column=column.name,
                    min_value=low,
                    max_value=column.high,
                    row_condition=f"error == {failed}",
                    condition_parser="pandas",
                )
            )
    return rules
