"""How a cluster served in one hour, as its agents' calls tell: the contract of ``curated.cluster_health_hourly``.

Its columns come from the interactions alone. What the cluster's own metrics and events say joins as optional columns (a
minor version) once their data sets are in the lake.
"""

from lake.contracts.base import Classification, Contract, Field, Model, Timestamp


class ClusterHealthHourly(Model):
    """How the agents on one cluster served in one hour (UTC): one row a cluster and hour with traffic."""

    cluster: str = Field(doc="Where the agents run.", max_length=256)
    hour: Timestamp = Field(doc="The full hour (UTC): interactions from it on, before the next.")
    requests: int = Field(doc="Interactions.", unit="interactions", ge=1)
    agents: int = Field(doc="Different agents seen.", unit="agents", ge=1)
    errors: int = Field(doc="Interactions that failed.", unit="interactions", ge=0)
    error_rate: float = Field(doc="Failed over all interactions.", unit="share", ge=0, le=1)
    latency_p50_ms: float = Field(
        doc="Median (nearest rank) latency of the calls that succeeded; null where none did.",
        unit="ms",
        ge=0,
        nullable=True,
    )
    latency_p95_ms: float = Field(doc="95th percentile (nearest rank) of the same.", unit="ms", ge=0, nullable=True)
    tokens: int = Field(doc="Tokens of queries and responses.", unit="tokens", ge=0)
    last_request_at: Timestamp = Field(doc="The newest interaction that counts: how far an unfinished hour has come.")
    built_from: str = Field(doc="Digest of the input files of this day and of the transform.", max_length=64)


CLUSTER_HEALTH_HOURLY = Contract(
    name="curated.cluster_health_hourly",
    version="1.0",
    model=ClusterHealthHourly,
    owner="platform",
    classification=Classification.INTERNAL,
    retention_days=365,
    partition=("day(hour)",),
    key=("cluster", "hour"),
    freshness_s=2 * 3600,
)
