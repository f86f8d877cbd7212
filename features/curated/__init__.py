"""The curated tables for analysts and dashboards, rebuilt partition by partition from pinned snapshots."""
