"""What brings the agents' logs in, early in the hour: its features are computed a quarter past."""

from launchplans.calendar import scheduled
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
