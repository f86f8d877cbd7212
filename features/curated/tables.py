"""Which curated tables there are: contract, transform, and how much of each input a partition depends on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from errors import UnknownName
from features.curated import transforms
from features.definitions import infrastructure
from lake.contracts.agent_feedback import AGENT_FEEDBACK
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.agent_performance_daily import AGENT_PERFORMANCE_DAILY
from lake.contracts.base import Contract
from lake.contracts.cluster_health_hourly import CLUSTER_HEALTH_HOURLY
from lake.contracts.kubernetes_events import KUBERNETES_EVENTS
from lake.contracts.logs import LOGS
from lake.contracts.metrics import METRICS
from lake.contracts.user_interaction_summary import USER_INTERACTION_SUMMARY
from lake.tables.engine import definition_of

if TYPE_CHECKING:
    import ibis

MAX_DAYS = 31
"""What bounds memory in a back-fill of years."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A data set that a transform reads."""

    contract: Contract
    columns: tuple[str, ...]
    days_after: int = 0
    """Full days after a partition's own whose rows it depends on as well."""
    hours_before: int = 0
    """Hours before a partition's own day whose rows it depends on as well."""
    where: str = ""
    """Which rows, as an Iceberg filter; all where empty."""
    makes_days: bool = True
    """Whether its days are partitions, or it only says more of those that others make."""


@dataclass(frozen=True, kw_only=True)
class Curated:
    """A curated table whose partitions are days."""

    contract: Contract
    transform: "Callable[..., ibis.Table]"
    """Takes one Ibis table an input, in their order, then the rows that stand, where there are columns to keep."""
    inputs: tuple[Input, ...]
    keeps: tuple[str, ...] = ()
    """Columns whose inputs are let go sooner than the table's rows: what they said stands where they say nothing any
    more. A day that has no input left is then left alone, until its own retention ends."""
    days_at_once: int = MAX_DAYS
    """Days that are read, computed and committed together."""

    @cached_property
    def expression(self) -> "ibis.Table":
        """The transform over unbound tables: what compiles for every engine."""
        stands = [unbound(self.standing)] if self.keeps else []
        return self.transform(*(unbound(one) for one in self.inputs), *stands)

    @property
    def standing(self) -> Input:
        """The table's own rows, as far as they are kept."""
        return Input(contract=self.contract, columns=(*self.contract.key, *self.keeps))

    @cached_property
    def definition(self) -> str:
        """The expression as DuckDB SQL, part of every day's digest. It changes with the expression, so a renamed
        intermediate column rebuilds the whole table: leave such names, here and in ``features.definitions``.
        """
        return definition_of(self.expression)


def unbound(one: Input) -> "ibis.Table":
    """An input as an Ibis table without data, named as in the catalogue."""
    import ibis
    import pyarrow as pa

    namespace, name = one.contract.table.split(".")
    fields = {field.name: field.with_nullable(True) for field in one.contract.arrow_schema}
    schema = ibis.Schema.from_pyarrow(pa.schema([fields[column] for column in one.columns]))
    return ibis.table(schema, name=name, database=namespace)


def named_table(name: str) -> Curated:
    """The curated table of this name. Raises ``UnknownName``."""
    known = {one.contract.name: one for one in TABLES}
    if name not in known:
        raise UnknownName("curated table", name, known)
    return known[name]


_CALLS = ("interaction_id", "timestamp", "agent_name", "user_id", "latency_ms", "tokens_used", "error", "feedback")
_THUMBS = Input(
    contract=AGENT_FEEDBACK,
    columns=("interaction_id", "value", "timestamp"),
    days_after=transforms.THUMBS_DAYS,
    makes_days=False,
)

AGENT_PERFORMANCE = Curated(
    contract=AGENT_PERFORMANCE_DAILY,
    transform=transforms.agent_performance_daily,
    inputs=(Input(contract=AGENT_INTERACTIONS, columns=_CALLS), _THUMBS),
)
USER_SUMMARY = Curated(
    contract=USER_INTERACTION_SUMMARY,
    transform=transforms.user_interaction_summary,
    inputs=(Input(contract=AGENT_INTERACTIONS, columns=_CALLS), _THUMBS),
)
CLUSTER_HEALTH = Curated(
    contract=CLUSTER_HEALTH_HOURLY,
    transform=transforms.cluster_health_hourly,
    inputs=(
        Input(
            contract=AGENT_INTERACTIONS,
            columns=("timestamp", "agent_name", "latency_ms", "tokens_used", "error", "cluster"),
        ),
        Input(
            contract=METRICS,
            columns=("cluster", "series", "timestamp", "metric", "labels", "value", "count", "buckets"),
            hours_before=1,  # a counter's point before the day
            where=f"metric in ({', '.join(map(repr, infrastructure.METRICS))})",
        ),
        Input(contract=LOGS, columns=("cluster", "timestamp", "stream", "message")),
        Input(
            contract=KUBERNETES_EVENTS,
            columns=("cluster", "timestamp", "namespace", "name", "uid", "type", "event_reason", "message"),
        ),
    ),
    keeps=transforms.MEASURES,
    days_at_once=3,  # metrics are many
)
TABLES = (AGENT_PERFORMANCE, USER_SUMMARY, CLUSTER_HEALTH)
"""Every curated table of days. ``ml.training_datasets`` is built by ``features.curated.datasets``."""
