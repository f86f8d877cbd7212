"""The three feature views: entity, contract, transform, schedule, availability and time to live.

The Feast definitions, the scheduled computation, the training join and the online read all use them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import ibis
import pyarrow as pa
import pyarrow.compute as pc

from errors import UnknownName
from features.definitions import infrastructure, transforms
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.base import Column, Contract
from lake.contracts.features import AGENT_FEATURES as AGENT_CONTRACT
from lake.contracts.features import INFRASTRUCTURE_FEATURES as INFRASTRUCTURE_CONTRACT
from lake.contracts.features import USER_FEATURES as USER_CONTRACT
from lake.contracts.joined_features import (
    AGENT_PREFIX,
    AGENT_TIME,
    INFRASTRUCTURE_PREFIX,
    INFRASTRUCTURE_TIME,
    USER_PREFIX,
    USER_TIME,
    feature_columns,
)
from lake.contracts.registries import AGENTS_NAMESPACE
from lake.contracts.telemetry import KUBERNETES_EVENTS, LOGS, METRICS

EVENT_TIMESTAMP, CREATED_TIMESTAMP = "event_timestamp", "created_timestamp"
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class ViewInput:
    """A data set that a view is computed from."""

    contract: Contract
    columns: tuple[str, ...]
    """Columns that the transform reads."""
    windows: tuple[str, ...] = ()
    """Columns that define the windows; empty if its rows define none and only refine the values of others."""
    where: str = ""
    """The rows, as an Iceberg filter; empty: all."""
    lookback: timedelta | None
    """How far before the end of a window it is read; None: everything that is retained."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One feature view. A value at ``event_timestamp`` T uses only rows from before T."""

    name: str
    entity: str
    """The column of the join key."""
    contract: Contract
    delay: timedelta
    """From the end of a window to the scheduled materialization: ``created_timestamp - event_timestamp``."""
    ttl: timedelta
    """A value older than this counts as missing, offline and online."""
    inputs: tuple[ViewInput, ...]
    windows: Callable[..., ibis.Table]
    """Takes one Ibis table for each input with ``windows``."""
    transform: Callable[..., ibis.Table]
    """Takes one Ibis table for each input, then the windows to compute."""
    by_day: bool = False
    """Whether only days with changed inputs are read, one at a time: for inputs that are too large to read whole. A
    window then depends only on its day and the lookback before it."""
    prefix: str
    """Prefix of the feature names in a join of several views."""
    time_column: str
    """In such a join, the column with the value's ``event_timestamp``."""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return feature_columns(self.contract)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, for example ``error_rate``."""
        return tuple(column.name for column in self.columns)

    @property
    def joined(self) -> dict[str, str]:
        """The stored columns that a join adds, and their names in its result."""
        return {EVENT_TIMESTAMP: self.time_column, **{name: self.prefix + name for name in self.features}}


def _interactions(columns: tuple[str, ...], entity: str, lookback: timedelta | None) -> ViewInput:
    return ViewInput(contract=AGENT_INTERACTIONS, columns=columns, windows=(entity, "timestamp"), lookback=lookback)


def _among(names: tuple[str, ...]) -> str:
    return f"metric in ({', '.join(map(repr, names))})"


USER_FEATURES = View(
    name="user_features",
    entity="user_id",
    contract=USER_CONTRACT,
    delay=timedelta(hours=2),  # materialized daily at 02:00
    ttl=timedelta(days=7),  # bridges some missed days; after a longer absence the user counts as new
    inputs=(
        _interactions(("user_id", "timestamp", "agent_name", "user_query", "latency_ms", "error"), "user_id", None),
    ),
    windows=transforms.user_windows,
    transform=transforms.user_features,
    prefix=USER_PREFIX,
    time_column=USER_TIME,
)
AGENT_FEATURES = View(
    name="agent_features",
    entity="agent_name",
    contract=AGENT_CONTRACT,
    delay=timedelta(minutes=15),  # materialized hourly at quarter past
    ttl=timedelta(hours=3),  # bridges one missed run; older values do not describe the agent's present state
    inputs=(
        _interactions(("agent_name", "timestamp", "latency_ms", "tokens_used", "error"), "agent_name", HOUR),
        ViewInput(
            contract=METRICS,
            columns=("timestamp", "metric", "labels", "value"),
            where=_among(infrastructure.UPTIME_METRICS),
            lookback=HOUR,
        ),
    ),
    windows=transforms.agent_windows,
    transform=transforms.agent_features,
    prefix=AGENT_PREFIX,
    time_column=AGENT_TIME,
)
INFRASTRUCTURE_FEATURES = View(
    name="infrastructure_features",
    entity="cluster_namespace",
    contract=INFRASTRUCTURE_CONTRACT,
    delay=timedelta(minutes=30),  # materialized hourly at half past: the hour's last metrics arrive at quarter past
    ttl=timedelta(hours=3),
    inputs=(
        ViewInput(
            contract=METRICS,
            columns=("cluster", "series", "timestamp", "metric", "labels", "value", "count", "buckets"),
            windows=("cluster", "labels", "timestamp"),
            where=_among(infrastructure.METRICS),
            lookback=2 * HOUR,  # includes a counter's last point before the hour
        ),
        ViewInput(
            contract=LOGS,
            columns=("cluster", "timestamp", "stream", "message"),
            windows=("cluster", "stream", "timestamp"),
            lookback=HOUR,
        ),
        ViewInput(
            contract=KUBERNETES_EVENTS,
            columns=("cluster", "timestamp", "namespace", "name", "uid", "type", "event_reason", "message"),
            windows=("cluster", "namespace", "timestamp"),
            lookback=HOUR,
        ),
    ),
    windows=transforms.infrastructure_windows,
    transform=transforms.infrastructure_features,
    by_day=True,
    prefix=INFRASTRUCTURE_PREFIX,
    time_column=INFRASTRUCTURE_TIME,
)
VIEWS = (USER_FEATURES, AGENT_FEATURES, INFRASTRUCTURE_FEATURES)


def named_view(name: str) -> View:
    """The view of this name. Raises ``UnknownName``."""
    known = {view.name: view for view in VIEWS}
    if name not in known:
        raise UnknownName("feature view", name, known)
    return known[name]


def namespace_key(cluster: str) -> str:
    """The key of the infrastructure features of a cluster's agents."""
    return f"{cluster}/{AGENTS_NAMESPACE}"


def namespace_keys(clusters: pa.ChunkedArray) -> pa.ChunkedArray:
    """``namespace_key`` of each cluster."""
    return pc.binary_join_element_wise(clusters, AGENTS_NAMESPACE, "/")


SERVICES = {"agents_v1": (USER_FEATURES, AGENT_FEATURES), "agents_v2": VIEWS}
"""Feature services by name. A service never changes: another choice of features gets another name."""
