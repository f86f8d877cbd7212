"""The three feature views: whose features, from which contract and transform, how often, when available, for how long.

Feast's definitions, the scheduled computation, the training join and the online read all take these facts from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from errors import UnknownName
from features.definitions import infrastructure, transforms
from lake.contracts.agent_features import AGENT_FEATURES as AGENT_CONTRACT
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.base import Column, Contract
from lake.contracts.infrastructure_features import INFRASTRUCTURE_FEATURES as INFRASTRUCTURE_CONTRACT
from lake.contracts.joined_features import (
    AGENT_PREFIX,
    AGENT_TIME,
    INFRASTRUCTURE_PREFIX,
    INFRASTRUCTURE_TIME,
    USER_PREFIX,
    USER_TIME,
    feature_columns,
)
from lake.contracts.kubernetes_events import KUBERNETES_EVENTS
from lake.contracts.logs import LOGS
from lake.contracts.metrics import METRICS
from lake.contracts.registries import AGENTS_NAMESPACE
from lake.contracts.user_features import USER_FEATURES as USER_CONTRACT

if TYPE_CHECKING:
    import ibis

EVENT_TIMESTAMP, CREATED_TIMESTAMP = "event_timestamp", "created_timestamp"


HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Input:
    """A data set that a view is computed from."""

    contract: Contract
    columns: tuple[str, ...]
    """What the transform reads."""
    windows: tuple[str, ...] = ()
    """What the windows are found by; empty where its rows call for none, because they only refine what others say."""
    where: str = ""
    """Which rows, as an Iceberg filter; all where empty."""
    lookback: timedelta | None
    """How far before the window's end it is read; None for everything retained."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One feature view. A value at ``event_timestamp`` T uses only what happened before T."""

    name: str
    entity: str
    """The join key's column."""
    contract: Contract
    delay: timedelta
    """From the window's end to the scheduled materialization: ``created_timestamp - event_timestamp``."""
    ttl: timedelta
    """A value older than this is missing, offline and online alike."""
    inputs: tuple[Input, ...]
    windows: "Callable[..., ibis.Table]"
    """Takes one Ibis table for each input that calls for windows."""
    transform: "Callable[..., ibis.Table]"
    """Takes one Ibis table an input, then the windows that are wanted."""
    by_day: bool = False
    """Whether only days whose inputs have changed are looked at, one at a time: for inputs too large to look at whole.
    A window then depends on nothing but its day and the lookback before it."""

    prefix: str
    """Set before a feature's name where both views' features stand side by side."""
    time_column: str
    """There, the column that holds the value's ``event_timestamp``."""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The features' columns."""
        return feature_columns(self.contract)

    @property
    def features(self) -> tuple[str, ...]:
        """The features' names, for example ``error_rate``."""
        return tuple(column.name for column in self.columns)

    @property
    def joined(self) -> dict[str, str]:
        """The stored columns that a join brings along, and their names beside an interaction."""
        return {EVENT_TIMESTAMP: self.time_column, **{name: self.prefix + name for name in self.features}}


def _interactions(columns: tuple[str, ...], entity: str, lookback: timedelta | None) -> Input:
    return Input(contract=AGENT_INTERACTIONS, columns=columns, windows=(entity, "timestamp"), lookback=lookback)


def _among(names: tuple[str, ...]) -> str:
    return f"metric in ({', '.join(map(repr, names))})"


USER_FEATURES = View(
    name="user_features",
    entity="user_id",
    contract=USER_CONTRACT,
    delay=timedelta(hours=2),  # materialized daily at 02:00
    ttl=timedelta(days=7),  # survives some missed days; a user who stays away longer is a stranger again
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
    delay=timedelta(minutes=15),  # materialized hourly, a quarter past
    ttl=timedelta(hours=3),  # survives one missed run; older says nothing about the agent's state now
    inputs=(
        _interactions(("agent_name", "timestamp", "latency_ms", "tokens_used", "error"), "agent_name", HOUR),
        Input(
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
    delay=timedelta(minutes=30),  # materialized hourly, half past: the hour's last metrics come in at a quarter past
    ttl=timedelta(hours=3),
    inputs=(
        Input(
            contract=METRICS,
            columns=("cluster", "series", "timestamp", "metric", "labels", "value", "count", "buckets"),
            windows=("cluster", "labels", "timestamp"),
            where=_among(infrastructure.METRICS),
            lookback=2 * HOUR,  # a counter's point before the hour
        ),
        Input(
            contract=LOGS,
            columns=("cluster", "timestamp", "stream", "message"),
            windows=("cluster", "stream", "timestamp"),
            lookback=HOUR,
        ),
        Input(
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


def place_of(cluster: str, namespace: str = AGENTS_NAMESPACE) -> str:
    """The key of a namespace's infrastructure features; the agents' namespace unless another is named."""
    return f"{cluster}/{namespace}"


def agents_place(clusters: pa.ChunkedArray) -> pa.ChunkedArray:
    """``place_of`` each cluster."""
    return pc.binary_join_element_wise(clusters, AGENTS_NAMESPACE, "/")


SERVICES = {"agents_v1": (USER_FEATURES, AGENT_FEATURES), "agents_v2": VIEWS}
"""Feature services by name. A service never changes: another choice of features is another name."""
