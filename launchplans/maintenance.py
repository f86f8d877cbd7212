"""The schedules of table maintenance, retention, quality checks and the weekly report."""

from lake.maintenance.run import MaintenancePolicy
from lake.quality.monitor import MonitoringPolicy
from lake.quality.score import QualityGate
from lake.quality.staleness import StalenessPolicy
from launchplans.schedule import scheduled
from models.triggers.rules import RetryBackoff
from workflows.maintenance import scheduled_retention, scheduled_table_care
from workflows.quality import quality_check, scheduled_audit, source_check
from workflows.weekly import weekly_report

audit_daily = scheduled("audit_daily", scheduled_audit, "30 4 * * *", owner="platform")
"""Every day at 04:30 UTC."""

check_quality_hourly = scheduled(
    "check_quality_hourly",
    quality_check,
    "25 * * * *",
    owner="platform",
    fixed_inputs={"gate": QualityGate(), "rule": MonitoringPolicy()},
)
"""Twenty minutes after the agents' logs are ingested."""

check_sources_hourly = scheduled(
    "check_sources_hourly", source_check, "55 * * * *", owner="platform", fixed_inputs={"rule": StalenessPolicy()}
)
"""Long after the collection runs; for installations that collect from servers."""

report_weekly = scheduled("report_weekly", weekly_report, "0 6 * * 1", owner="platform")
"""On Monday morning, for the ISO week that ended at midnight UTC."""

care_daily = scheduled(
    "care_daily", scheduled_table_care, "40 1 * * *", owner="platform", fixed_inputs={"rule": MaintenancePolicy()}
)
"""Every night at 01:40 UTC, before the users' features are computed from the day: they then open fewer files."""

retention_daily = scheduled(
    "retention_daily", scheduled_retention, "20 1 * * *", owner="platform", fixed_inputs={"patience": RetryBackoff()}
)
"""Before the daily maintenance, which removes the files it leaves. Its cut-off day changes on Mondays."""
