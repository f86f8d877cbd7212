"""The schedule that ingests the broker's events, for installations without a permanent consumer."""

from launchplans.schedule import scheduled
from workflows.events import scheduled_events

drain_events = scheduled(
    "drain_events", scheduled_events, "*/15 * * * *", owner="platform", fixed_inputs={"minutes": 10}
)
"""Do not activate it where agents only write logs, or where `fuelline consume events` runs permanently."""
