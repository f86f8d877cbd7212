"""The schedules that ingest logs and gateway records early in the hour, and the broker's events: features are computed
at quarter past.
"""

from launchplans.schedule import scheduled
from workflows.events import scheduled_events
from workflows.ingestion import scheduled_ingestion

FILES = ("logs", "vllm")
"""Log files, or the inbox that gateways before vLLM fill."""
INTERACTIONS = {"source": "agents", "data_set": "processed.agent_interactions"}
FEEDBACK = {"source": "feedback", "data_set": "processed.agent_feedback"}
PREDICTIONS = {"source": "predictions", "data_set": "processed.model_predictions"}

ingest_hourly = scheduled(
    "ingest_hourly", scheduled_ingestion, "5 * * * *", INTERACTIONS, owner="platform", needs=FILES
)
"""The agents' interactions: queries and answers."""

ingest_feedback_hourly = scheduled(
    "ingest_feedback_hourly", scheduled_ingestion, "10 * * * *", FEEDBACK, owner="agents", needs=FILES
)
"""Feedback that arrives later than the answers it rates. Not for agents that log feedback with their answers."""

ingest_predictions_hourly = scheduled(
    "ingest_predictions_hourly", scheduled_ingestion, "12 * * * *", PREDICTIONS, owner="serving", needs=["vllm"]
)
"""The gateways' records: what the model was given, and which version answered. For installations with a gateway."""

drain_events = scheduled(
    "drain_events", scheduled_events, "*/15 * * * *", {"minutes": 10}, owner="platform", needs=["rabbitmq"]
)
"""For installations without a permanent consumer: keep it inactive where `fuelline consume events` runs permanently."""
