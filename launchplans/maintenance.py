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

OWNER = "platform"
CHECK = {"gate": QualityGate(), "rule": MonitoringPolicy()}

audit_daily = scheduled("audit_daily", scheduled_audit, "30 4 * * *", owner=OWNER)

check_quality_hourly = scheduled("check_quality_hourly", quality_check, "25 * * * *", CHECK, owner=OWNER)
"""Twenty minutes after the agents' logs are ingested."""

check_sources_hourly = scheduled(
    "check_sources_hourly", source_check, "55 * * * *", {"rule": StalenessPolicy()}, owner=OWNER
)
"""Long after the collection runs; for installations that collect from servers."""

report_weekly = scheduled("report_weekly", weekly_report, "0 6 * * 1", owner=OWNER)
"""On Monday morning, for the ISO week that ended at midnight UTC."""

care_daily = scheduled("care_daily", scheduled_table_care, "40 1 * * *", {"rule": MaintenancePolicy()}, owner=OWNER)
"""Every night, before the users' features are computed from the day: they then open fewer files."""

retention_daily = scheduled(
    "retention_daily", scheduled_retention, "20 1 * * *", {"patience": RetryBackoff()}, owner=OWNER
)
"""Before the daily maintenance, which removes the files it leaves. Its cut-off day changes on Mondays."""
