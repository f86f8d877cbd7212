"""The two feature views: whose features, from which contract and transform, how often, when available, for how long.

Feast's definitions, the scheduled computation, the training join and the online read all take these facts from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from errors import UnknownName
from features import transforms
from lake.contracts.agent_features import AGENT_FEATURES as AGENT_CONTRACT
from lake.contracts.base import Column, Contract
from lake.contracts.joined_features import AGENT_PREFIX, AGENT_TIME, USER_PREFIX, USER_TIME, feature_columns
from lake.contracts.user_features import USER_FEATURES as USER_CONTRACT

if TYPE_CHECKING:
    import ibis

EVENT_TIMESTAMP, CREATED_TIMESTAMP = "event_timestamp", "created_timestamp"


@dataclass(frozen=True, kw_only=True)
class View:
    """One feature view. A value at ``event_timestamp`` T uses only interactions before T."""

    name: str
    entity: str
    """The join key's column."""
    contract: Contract
    delay: timedelta
    """From the window's end to the scheduled materialization: ``created_timestamp - event_timestamp``."""
    ttl: timedelta
    """A value older than this is missing, offline and online alike."""
    windows: "Callable[[ibis.Table], ibis.Table]"
    transform: "Callable[[ibis.Table, ibis.Table], ibis.Table]"
    inputs: tuple[str, ...]
    """Columns of the interactions that the transform reads."""
    lookback: timedelta | None
    """How far before the window's end it reads; None for everything retained."""

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


USER_FEATURES = View(
    name="user_features",
    entity="user_id",
    contract=USER_CONTRACT,
    delay=timedelta(hours=2),  # materialized daily at 02:00
    ttl=timedelta(days=7),  # survives some missed days; a user who stays away longer is a stranger again
    windows=transforms.user_windows,
    transform=transforms.user_features,
    inputs=("user_id", "timestamp", "agent_name", "user_query", "latency_ms", "error"),
    lookback=None,
    prefix=USER_PREFIX,
    time_column=USER_TIME,
)
AGENT_FEATURES = View(
    name="agent_features",
    entity="agent_name",
    contract=AGENT_CONTRACT,
    delay=timedelta(minutes=15),  # materialized hourly, a quarter past
    ttl=timedelta(hours=3),  # survives one missed run; older says nothing about the agent's state now
    windows=transforms.agent_windows,
    transform=transforms.agent_features,
    inputs=("agent_name", "timestamp", "latency_ms", "tokens_used", "error"),
    lookback=timedelta(hours=1),
    prefix=AGENT_PREFIX,
    time_column=AGENT_TIME,
)
VIEWS = (USER_FEATURES, AGENT_FEATURES)


def named_view(name: str) -> View:
    """The view of this name. Raises ``UnknownName``."""
    known = {view.name: view for view in VIEWS}
    if name not in known:
        raise UnknownName("feature view", name, known)
    return known[name]


SERVICES = {"agents_v1": VIEWS}
"""Feature services by name. A service never changes: another choice of features is another name."""
