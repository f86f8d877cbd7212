"""Which curated tables there are: contract, transform, and how much of each input a partition depends on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from errors import UnknownName
from features.curated import transforms
from features.engine import definition_of
from lake.contracts.agent_feedback import AGENT_FEEDBACK
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.agent_performance_daily import AGENT_PERFORMANCE_DAILY
from lake.contracts.base import Contract
from lake.contracts.cluster_health_hourly import CLUSTER_HEALTH_HOURLY
from lake.contracts.user_interaction_summary import USER_INTERACTION_SUMMARY

if TYPE_CHECKING:
    import ibis


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A data set that a transform reads."""

    contract: Contract
    columns: tuple[str, ...]
    days_after: int = 0
    """Full days after a partition's own whose rows it depends on as well."""


@dataclass(frozen=True, kw_only=True)
class Curated:
    """A curated table whose partitions are days."""

    contract: Contract
    transform: "Callable[..., ibis.Table]"
    """Takes one Ibis table an input, in their order."""
    inputs: tuple[Input, ...]
    """The first one's days are the partitions."""

    @cached_property
    def expression(self) -> "ibis.Table":
        """The transform over unbound tables: what compiles for every engine."""
        return self.transform(*(unbound(one) for one in self.inputs))

    @cached_property
    def definition(self) -> str:
        """The expression as SQL of DuckDB: what moves when a result may, and with nothing else."""
        return definition_of(self.expression)


def unbound(one: Input) -> "ibis.Table":
    """An input as an Ibis table without data, named as in the catalogue."""
    import ibis
    import pyarrow as pa

    namespace, name = one.contract.table.split(".")
    fields = {field.name: field for field in one.contract.arrow_schema}
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
    contract=AGENT_FEEDBACK, columns=("interaction_id", "value", "timestamp"), days_after=transforms.THUMBS_DAYS
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
    ),
)
TABLES = (AGENT_PERFORMANCE, USER_SUMMARY, CLUSTER_HEALTH)
"""Every curated table of days. ``ml.training_datasets`` is built by ``features.curated.datasets``."""
