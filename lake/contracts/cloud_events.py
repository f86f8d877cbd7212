"""The envelope of every event from the broker: the contract of ``processed.cloud_events``."""

from lake.contracts.agent_interactions import NAME_CHARACTERS, TEXT_CHARACTERS
from lake.contracts.base import Classification, Contract, Field, Model, Timestamp


class CloudEvents(Model):
    """One row per event (CloudEvents 1.0). It holds the payload only where no other data set does."""

    specversion: str = Field(doc="Version of CloudEvents", registry="specversions", max_length=NAME_CHARACTERS)
    id: str = Field(doc="Identifier, given by the source and unique there", max_length=NAME_CHARACTERS)
    source: str = Field(doc="The emitter, a URI reference", max_length=NAME_CHARACTERS)
    type: str = Field(doc="What happened, for example fuelline.agent.interaction.v1", max_length=NAME_CHARACTERS)
    time: Timestamp = Field(doc="When it happened; optional in CloudEvents, required here")
    subject: str = Field(doc="What it is about, within the source", pii=True, max_length=NAME_CHARACTERS, nullable=True)
    datacontenttype: str = Field(doc="Media type of the payload", max_length=NAME_CHARACTERS, nullable=True)
    data: str = Field(doc="Payload as text, JSON as it is", pii=True, max_length=TEXT_CHARACTERS, nullable=True)
    data_base64: str = Field(doc="Payload that is not text", pii=True, max_length=TEXT_CHARACTERS, nullable=True)
    extensions: str = Field(
        doc="Extension attributes, as a JSON object", pii=True, max_length=TEXT_CHARACTERS, nullable=True
    )


CLOUD_EVENTS = Contract(
    name="processed.cloud_events",
    version="1.0",
    model=CloudEvents,
    owner="platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=180,
    partition=("day(time)",),
    key=("source", "id"),
    freshness_s=300,
    source="cloud-events",
    raw_retention_days=90,
)
