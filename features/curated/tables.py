"""The curated tables with days as partitions: contract, transform, and the input rows that a partition depends on."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import ibis
import pyarrow as pa

from features.curated import transforms
from features.definitions import infrastructure
from lake.contracts import find
from lake.contracts.agent_interactions import AGENT_FEEDBACK, AGENT_INTERACTIONS
from lake.contracts.base import Contract
from lake.contracts.curated import AGENT_PERFORMANCE_DAILY, CLUSTER_HEALTH_HOURLY, USER_INTERACTION_SUMMARY
from lake.contracts.telemetry import KUBERNETES_EVENTS, LOGS, METRICS
from lake.lake import Lake
from lake.tables.engine import definition_of
from lake.tables.partitions import BUILT_FROM
from lake.tables.versions import TableVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """The result of a build."""

    table: str
    version: list[TableVersion] = field(default_factory=list)
    """The table afterwards; empty if it never had a row."""
    inputs: list[TableVersion]
    """The pinned versions that were read."""
    rebuilt: list[str] = field(default_factory=list)
    """The partitions that this build replaced, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CuratedInput:
    """A data set that a transform reads."""

    contract: Contract
    columns: tuple[str, ...]
    days_after: int = 0
    """Full days after a partition's own day whose rows it also depends on."""
    hours_before: int = 0
    """Hours before a partition's own day whose rows it also depends on."""
    where: str = ""
    """The rows, as an Iceberg filter; empty: all."""
    makes_days: bool = True
    """Whether its days define partitions, or it only adds to those of other inputs."""


@dataclass(frozen=True, kw_only=True)
class Curated:
    """A curated table whose partitions are days."""

    contract: Contract
    transform: Callable[..., ibis.Table]
    """Takes one Ibis table for each of ``read``."""
    inputs: tuple[CuratedInput, ...]
    keeps: tuple[str, ...] = ()
    """Columns whose inputs have a shorter retention than the table: they keep their values when the inputs are gone. A
    day without any input left stays unchanged until its own retention ends."""
    days_at_once: int = 31
    """Days that are read, computed and committed together: bounds the memory of a back-fill over years."""

    @property
    def read(self) -> tuple[CuratedInput, ...]:
        """What the transform takes: the inputs, then the table's own key and kept columns if it keeps any."""
        own = CuratedInput(contract=self.contract, columns=(*self.contract.key, *self.keeps))
        return (*self.inputs, own) if self.keeps else self.inputs

    @cached_property
    def expression(self) -> ibis.Table:
        """The transform over unbound tables, which compiles for every engine."""
        return self.transform(*map(unbound, self.read))

    @cached_property
    def definition(self) -> str:
        """The expression as DuckDB SQL, part of every day's digest. It changes with the expression, so a renamed
        intermediate column rebuilds the whole table: leave such names, here and in ``features.definitions``.
        """
        return definition_of(self.expression)


def result(lake: Lake, contract: Contract, inputs: list[TableVersion], rebuilt: list[str]) -> Build:
    """The result of a build that is done, with the table's current version."""
    current = lake.tables.current(contract)
    return Build(table=contract.table, version=[current] if current else [], inputs=inputs, rebuilt=rebuilt)


def digest(contract: Contract, *parts: object) -> str:
    """The digest of everything that decides a partition's rows: the contract's version, and ``parts`` (JSON)."""
    return hashlib.sha256(json.dumps([contract.table, contract.version, *parts]).encode()).hexdigest()[:32]


def is_due(stored: set[str], wanted: str | None) -> bool:
    """Whether a partition's rows have other digests than the wanted one, or are there and not wanted."""
    return stored != ({wanted} if wanted else set())


def in_form(contract: Contract, rows: pa.Table) -> pa.Table:
    """The columns of the contract and their types, without ``built_from``."""
    schema = contract.arrow_schema
    form = schema.remove(schema.get_field_index(BUILT_FROM))
    return rows.select(form.names).cast(form)


def unbound(read: CuratedInput) -> ibis.Table:
    """An input as an Ibis table without data, named as in the catalogue."""
    namespace, name = read.contract.table.split(".")
    fields = {field.name: field.with_nullable(True) for field in read.contract.arrow_schema}
    return ibis.table(pa.schema([fields[column] for column in read.columns]), name=name, database=namespace)


def named_table(name: str) -> Curated:
    """The curated table of this name. Raises ``UnknownName``."""
    found = find(name, [table.contract for table in TABLES], "curated table")
    return next(table for table in TABLES if table.contract is found)


_CALLS = ("interaction_id", "timestamp", "agent_name", "user_id", "latency_ms", "tokens_used", "error", "feedback")
_RATED_CALLS = (
    CuratedInput(contract=AGENT_INTERACTIONS, columns=_CALLS),
    CuratedInput(
        contract=AGENT_FEEDBACK,
        columns=("interaction_id", "value", "timestamp"),
        days_after=transforms.FEEDBACK_DAYS,
        makes_days=False,
    ),
)

AGENT_PERFORMANCE = Curated(
    contract=AGENT_PERFORMANCE_DAILY, transform=transforms.agent_performance_daily, inputs=_RATED_CALLS
)
USER_SUMMARY = Curated(
    contract=USER_INTERACTION_SUMMARY, transform=transforms.user_interaction_summary, inputs=_RATED_CALLS
)
CLUSTER_HEALTH = Curated(
    contract=CLUSTER_HEALTH_HOURLY,
    transform=transforms.cluster_health_hourly,
    inputs=(
        CuratedInput(
            contract=AGENT_INTERACTIONS,
            columns=("timestamp", "agent_name", "latency_ms", "tokens_used", "error", "cluster"),
        ),
        CuratedInput(
            contract=METRICS,
            columns=("cluster", "series", "timestamp", "metric", "labels", "value", "count", "buckets"),
            hours_before=1,  # includes a counter's last point before the day
            where=f"metric in ({', '.join(map(repr, infrastructure.METRICS))})",
        ),
        CuratedInput(contract=LOGS, columns=("cluster", "timestamp", "stream", "message")),
        CuratedInput(
            contract=KUBERNETES_EVENTS,
            columns=("cluster", "timestamp", "namespace", "name", "uid", "type", "event_reason", "message"),
        ),
    ),
    keeps=transforms.MEASURES,
    days_at_once=3,  # metrics have many rows
)
TABLES = (AGENT_PERFORMANCE, USER_SUMMARY, CLUSTER_HEALTH)
"""Every curated table of days. ``ml.training_datasets`` is built by ``features.curated.datasets``."""
