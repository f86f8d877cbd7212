"""What looks after the tables and tells people of them."""

from lake.quality import QualityGate
from lake.watch import WatchRule
from launchplans.calendar import scheduled
from workflows.audit import scheduled_audit
from workflows.watch import quality_check
from workflows.weekly import weekly_report

audit_daily = scheduled("audit_daily", scheduled_audit, "30 4 * * *", owner="platform")
"""Every day at 04:30 UTC."""

check_quality_hourly = scheduled(
    "check_quality_hourly",
    quality_check,
    "25 * * * *",
    owner="platform",
    fixed_inputs={"gate": QualityGate(), "rule": WatchRule()},
)
"""Twenty minutes after the agents' logs came in."""

report_weekly = scheduled("report_weekly", weekly_report, "0 6 * * 1", owner="platform")
"""Monday morning, about the ISO week that ended at midnight UTC."""
