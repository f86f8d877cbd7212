"""The schedules that ingest logs and gateway records early in the hour: features are computed at quarter past."""

from launchplans.schedule import scheduled
from workflows.ingestion import scheduled_ingestion

ingest_hourly = scheduled(
    "ingest_hourly",
    scheduled_ingestion,
    "5 * * * *",
    owner="platform",
    fixed_inputs={"source": "agents", "data_set": "processed.agent_interactions"},
)
"""The agents' interactions: queries and answers."""

ingest_feedback_hourly = scheduled(
    "ingest_feedback_hourly",
    scheduled_ingestion,
    "10 * * * *",
    owner="agents",
    fixed_inputs={"source": "feedback", "data_set": "processed.agent_feedback"},
)
"""Feedback that arrives later than the answers it rates. Not for agents that log feedback with their answers."""

ingest_predictions_hourly = scheduled(
    "ingest_predictions_hourly",
    scheduled_ingestion,
    "12 * * * *",
    owner="serving",
    fixed_inputs={"source": "predictions", "data_set": "processed.model_predictions"},
)
"""The gateways' records: what the model was given, and which version answered. For installations with a gateway."""
