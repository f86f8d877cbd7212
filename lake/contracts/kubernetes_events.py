"""Events that Kubernetes reports about its objects: the contract of ``processed.kubernetes_events``."""

from lake.contracts.base import Classification, Contract, Field, Model, Timestamp
from lake.contracts.metrics import NAME_CHARACTERS


class KubernetesEvents(Model):
    """One row per event and count: Kubernetes counts the repeats of an event, and each observed count is a row."""

    uid: str = Field(doc="The event's uid", max_length=NAME_CHARACTERS)
    count: int = Field(doc="How often it has happened", ge=1)
    timestamp: Timestamp = Field(doc="When it happened last")
    first_seen: Timestamp = Field(doc="When it happened first", nullable=True)
    cluster: str = Field(doc="The cluster", max_length=NAME_CHARACTERS)
    namespace: str = Field(doc="Of the object", max_length=NAME_CHARACTERS, nullable=True)
    kind: str = Field(doc="Of the object: Pod, Node, ...", max_length=NAME_CHARACTERS, nullable=True)
    name: str = Field(doc="Of the object", max_length=NAME_CHARACTERS, nullable=True)
    type: str = Field(doc="Normal or Warning", max_length=NAME_CHARACTERS, nullable=True)
    event_reason: str = Field(doc="The reason, one word", max_length=NAME_CHARACTERS, nullable=True)
    message: str = Field(doc="The message", max_length=100_000, nullable=True)
    component: str = Field(doc="The component that reported it", max_length=NAME_CHARACTERS, nullable=True)
    host: str = Field(doc="The node", max_length=NAME_CHARACTERS, nullable=True)


KUBERNETES_EVENTS = Contract(
    name="processed.kubernetes_events",
    version="1.0",
    model=KubernetesEvents,
    owner="platform",
    classification=Classification.INTERNAL,
    retention_days=7,
    partition=("day(timestamp)", "cluster"),
    key=("cluster", "uid", "count"),
    freshness_s=900,
    source="kubernetes-events",
    raw_retention_days=7,
)
