"""The envelope of every event from the broker: the contract of ``processed.cloud_events``."""

from lake.contracts.base import TEXT_CHARACTERS, Classification, Contract, Field, Model, Name, Timestamp


class CloudEvents(Model):
    """One row per event (CloudEvents 1.0). It holds the payload only where no other data set does."""

    specversion: str = Name("Version of CloudEvents", registry="specversions")
    id: str = Name("Identifier, given by the source and unique there")
    source: str = Name("The emitter, a URI reference")
    type: str = Name("What happened, for example fuelline.agent.interaction.v1")
    time: Timestamp = Field("When it happened; optional in CloudEvents, required here")
    subject: str = Name("What it is about, within the source", pii=True, nullable=True)
    datacontenttype: str = Name("Media type of the payload", nullable=True)
    data: str = Field("Payload as text, JSON as it is", pii=True, max_length=TEXT_CHARACTERS, nullable=True)
    data_base64: str = Field("Payload that is not text", pii=True, max_length=TEXT_CHARACTERS, nullable=True)
    extensions: str = Field(
        "Extension attributes, as a JSON object", pii=True, max_length=TEXT_CHARACTERS, nullable=True
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
