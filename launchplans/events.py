"""What brings the broker's events in, where no consumer runs all the time."""

from launchplans.schedule import scheduled
from workflows.events import scheduled_events

drain_events = scheduled(
    "drain_events", scheduled_events, "*/15 * * * *", owner="platform", fixed_inputs={"minutes": 10}
)
"""Do not activate it where agents only write logs, or where `fuelline consume events` runs all the time."""
