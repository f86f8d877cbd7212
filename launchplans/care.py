"""What looks after the tables."""

from launchplans.calendar import scheduled
from workflows.audit import scheduled_audit

audit_daily = scheduled("audit_daily", scheduled_audit, "30 4 * * *", owner="platform")
"""Every day at 04:30 UTC."""
