"""What brings in the agents' logs and what gateways served, early in the hour: features are computed a quarter past."""

from launchplans.schedule import scheduled
from workflows.ingestion import scheduled_ingestion

ingest_hourly = scheduled(
    "ingest_hourly",
    scheduled_ingestion,
    "5 * * * *",
    owner="platform",
    fixed_inputs={"source": "agents", "data_set": "processed.agent_interactions"},
)
"""What the agents were asked and answered."""

ingest_feedback_hourly = scheduled(
    "ingest_feedback_hourly",
    scheduled_ingestion,
    "10 * * * *",
    owner="agents",
    fixed_inputs={"source": "feedback", "data_set": "processed.agent_feedback"},
)
"""Thumbs that come later than the answers they rate. Do not activate it where agents log thumbs with their answers."""

ingest_predictions_hourly = scheduled(
    "ingest_predictions_hourly",
    scheduled_ingestion,
    "12 * * * *",
    owner="serving",
    fixed_inputs={"source": "predictions", "data_set": "processed.model_predictions"},
)
"""What a model was given and which version answered, as the gateways wrote it. Activate it where a gateway serves."""
