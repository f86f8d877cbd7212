"""The feature columns as they stand beside an interaction: in a training row, in a logged prediction, in the online
answer.

Derived from the feature contracts, so that a new feature is declared once. The user's features keep their own names
(the prompt knows them by these), the agent's are prefixed with ``agent_``, those of the namespace that the agents run
in with ``infrastructure_``; all may be missing, so all may be null.
"""

import pyarrow as pa

from lake.contracts.base import Column, Contract, Field, Model, OptionalInt, Timestamp
from lake.contracts.features import AGENT_FEATURES, INFRASTRUCTURE_FEATURES, USER_FEATURES

USER_PREFIX, AGENT_PREFIX, INFRASTRUCTURE_PREFIX = "", "agent_", "infrastructure_"
USER_TIME, AGENT_TIME = "user_event_timestamp", "agent_event_timestamp"
INFRASTRUCTURE_TIME = "infrastructure_event_timestamp"
"""When the value's window ended; null where the value is missing."""

_OPTIONAL = {pa.string(): str, pa.int64(): OptionalInt, pa.float64(): float}


def feature_columns(contract: Contract) -> tuple[Column, ...]:
    """A feature contract's columns less the entity and the two timestamps."""
    return tuple(c for c in contract.columns if c.name not in contract.key and c.name != "created_timestamp")


def _joined_model() -> type[Model]:
    types: dict[str, object] = {}
    fields: dict[str, object] = {}
    for contract, prefix, time in (
        (USER_FEATURES, USER_PREFIX, USER_TIME),
        (AGENT_FEATURES, AGENT_PREFIX, AGENT_TIME),
        (INFRASTRUCTURE_FEATURES, INFRASTRUCTURE_PREFIX, INFRASTRUCTURE_TIME),
    ):
        types[time], fields[time] = Timestamp, Field(doc=f"Window end of the {contract.name} row.", nullable=True)
        for c in feature_columns(contract):
            types[prefix + c.name] = _OPTIONAL[c.type]
            fields[prefix + c.name] = Field(doc=c.doc, unit=c.unit, ge=c.low, le=c.high, nullable=True)
    return type("JoinedFeatures", (Model,), {**fields, "__annotations__": types, "__module__": __name__})


JoinedFeatures = _joined_model()
"""A pandera model to inherit from."""
