"""Contracts: one pandera model per data set, from which everything about its form is derived.

The Iceberg schema and partitions, the quality checks, the Feast fields, the catalogue page and the documentation
come from the same declaration. A minor version may add optional columns. Any other change moves the major version,
which has a table of its own (``name_v2``), filled again from the raw zone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from typing import Annotated, Any

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa

Timestamp = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
"""An instant, UTC, to the microsecond."""
OptionalInt = pd.Int64Dtype
"""An integer that may be null."""
OptionalBool = pd.BooleanDtype
"""A flag that may be null."""
Model = pandera.DataFrameModel

NAME_CHARACTERS, TEXT_CHARACTERS = 256, 100_000
"""The longest name, and the longest text of a user or a model."""
_ARROW_TYPES: Mapping[str, pa.DataType] = {
    "str": pa.string(),
    "int64": pa.int64(),
    "Int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "boolean": pa.bool_(),
    "datetime64[us, UTC]": pa.timestamp("us", tz="UTC"),
}


class Classification(Enum):
    """How confidential a data set is."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column, as derived from the model."""

    name: str
    doc: str
    type: pa.DataType
    required: bool
    """Not null, and present in every row of a source."""
    low: float | None = None
    high: float | None = None
    low_if_failed: float | None = None
    """Lower bound for rows whose ``error`` is true; None: ``low`` applies."""
    allowed: tuple[float, ...] = ()
    max_length: int | None = None
    """In characters."""
    registry: str = ""
    """Name of the registry that lists the values, see ``registries.py``."""
    unit: str = ""
    pii: bool = False


def Field(  # noqa: N802 - it replaces pandera's own Field
    doc: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    ge_if_failed: float | None = None,
    allowed: tuple[float, ...] = (),
    max_length: int | None = None,
    registry: str = "",
    unit: str = "",
    pii: bool = False,
    nullable: bool = False,
) -> Any:
    """Declare a column: with pandera's checks where pandera has them, the rest as metadata."""
    lows = [bound for bound in (ge, ge_if_failed) if bound is not None]
    bounds = {"low": ge, "high": le, "low_if_failed": ge_if_failed, "allowed": allowed, "max_length": max_length}
    return pandera.Field(
        ge=min(lows, default=None),
        le=le,
        isin=list(allowed) or None,
        str_length={"max_value": max_length} if max_length else None,
        nullable=nullable,
        description=doc,
        metadata={**bounds, "registry": registry, "unit": unit, "pii": pii},
    )


Name = partial(Field, max_length=NAME_CHARACTERS)
Share = partial(Field, unit="share", ge=0, le=1)
Latency = partial(Field, unit="ms", ge=0)
Measured = partial(Field, ge=0, nullable=True)
"""A quantity that is null where nothing was measured."""


class Quarantine(Model):
    """One row per rejected line of a source object."""

    source_object: str = Field("Raw object that holds the line, byte for byte")
    line: int = Field("Line (or row) number in it, from 1", ge=1)
    reason: str = Field("Why it was rejected, one of the names in docs/contracts.md")
    column: str = Field("Column at fault, if it is one", nullable=True)
    raw: str = Field("The line's first characters", pii=True, nullable=True)
    landed_at: Timestamp = Field("When the object landed")
    timestamp: Timestamp = Field("The row's own time, where it has a readable one", nullable=True)
    agent_name: str = Field("The row's agent, where it is a known one", nullable=True)
    error: OptionalBool = Field("The row's error flag, null where unreadable", nullable=True)
    digest: str = Field("Digest of the line's bytes, by which it is recognised when it is read again", nullable=True)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The contract of a data set. ``model`` declares the columns, the other fields everything else."""

    name: str
    """Iceberg namespace and table, for example ``processed.agent_interactions``."""
    version: str
    """``major.minor``."""
    model: type[Model]
    owner: str
    classification: Classification
    retention_days: int
    partition: tuple[str, ...]
    """``day(column)`` or a column."""
    key: tuple[str, ...]
    """Columns that no two rows share: the row's identity."""
    unique: tuple[tuple[str, ...], ...] = ()
    """Further columns on which two different rows are a conflict."""
    freshness_s: int
    """Largest age of the newest row."""
    completeness: float = 0.99
    """Share of landed rows that must pass."""
    parse_errors_max: float = 0.01
    """Share of landed rows that may be unreadable."""
    source: str = ""
    """The folder of the raw objects that the rows are parsed from, ``raw/<source>/``; empty for computed data sets."""
    raw_retention_days: int = 0
    """Days before raw objects move to the cold tier, where they stay until ``retention_days``."""

    def __post_init__(self) -> None:
        names = {column.name for column in self.columns}
        used = {*self.key, *(c for columns in self.unique for c in columns), *(c for _, c in self.partitions)}
        if missing := used - names:
            raise ValueError(f"{self.name}: no column {', '.join(sorted(missing))}")
        if bool(self.source) != (0 < self.raw_retention_days <= self.retention_days):
            raise ValueError(
                f"{self.name}: a source goes with raw_retention_days from 1 to {self.retention_days}, "
                f"not {self.source!r} with {self.raw_retention_days}"
            )

    @property
    def table(self) -> str:
        """The table of this major version: each has its own."""
        major = self.version.split(".")[0]
        return self.name if major == "1" else f"{self.name}_v{major}"

    @property
    def doc(self) -> str:
        """First line of the model's docstring."""
        return (self.model.__doc__ or "").strip().splitlines()[0]

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns in order."""
        return tuple(
            Column(
                name=name,
                doc=declared.description or "",
                type=_ARROW_TYPES[str(declared.dtype)],
                required=not declared.nullable,
                **declared.metadata or {},
            )
            for name, declared in self.model.to_schema().columns.items()
        )

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, nullable=not c.required) for c in self.columns])

    @cached_property
    def quarantine(self) -> "Contract":
        """The contract of this data set's rejected rows: kept as long, restricted, partitioned by day of landing."""
        return Contract(
            name=f"quarantine.{self.name.split('.')[1]}",
            version="1.1",
            model=Quarantine,
            owner=self.owner,
            classification=Classification.RESTRICTED,
            retention_days=self.retention_days,
            partition=("day(landed_at)",),
            key=("source_object", "line"),
            freshness_s=self.freshness_s,
        )

    @property
    def day_column(self) -> str:
        """The column whose day partitions the table; empty if there is none."""
        return next((column for transform, column in self.partitions if transform == "day"), "")

    @property
    def time_column(self) -> str:
        """The row's own time, from which retention counts: the day column, else the first required timestamp."""
        return self.day_column or next(c.name for c in self.columns if c.required and pa.types.is_timestamp(c.type))

    @property
    def partitions(self) -> list[tuple[str, str]]:
        """Pairs of transform and column, for example ``("day", "timestamp")``."""
        split = [part.rstrip(")").partition("(") for part in self.partition]
        return [(transform, column) if column else ("identity", transform) for transform, _, column in split]
