-- The lake as a star schema: facts and dimensions over the Iceberg tables. None contains text of a user or an agent.
-- Idempotent. Times are UTC. `fuelline docs trino-views` prints the views whose tables exist.

CREATE SCHEMA IF NOT EXISTS star.analytics;

CREATE OR REPLACE VIEW star.analytics.fact_interaction SECURITY INVOKER AS
SELECT
    interaction_id,
    "timestamp" AS asked_at,
    date_trunc('day', "timestamp") AS day,
    agent_name,
    user_id,
    cluster,
    model_version,
    latency_ms,
    tokens_used,
    error,
    feedback
FROM fuelline.processed.agent_interactions;

CREATE OR REPLACE VIEW star.analytics.fact_agent_day SECURITY INVOKER AS
SELECT
    day,
    agent_name,
    requests,
    users,
    errors,
    latency_mean_ms,
    latency_p50_ms,
    latency_p95_ms,
    tokens,
    rated,
    thumbs_up
FROM fuelline.curated.agent_performance_daily;

CREATE OR REPLACE VIEW star.analytics.fact_user_day SECURITY INVOKER AS
SELECT
    day,
    user_id,
    most_used_agent AS agent_name,
    requests,
    errors,
    tokens,
    rated,
    thumbs_up
FROM fuelline.curated.user_interaction_summary;

CREATE OR REPLACE VIEW star.analytics.fact_cluster_hour SECURITY INVOKER AS
SELECT
    hour,
    date_trunc('day', hour) AS day,
    cluster,
    requests,
    agents,
    errors,
    latency_p50_ms,
    latency_p95_ms,
    tokens,
    log_lines,
    error_log_rate,
    restarts,
    cpu_pressure,
    memory_pressure,
    measured_requests,
    measured_latency_p95_ms,
    crash_loops,
    warning_events
FROM fuelline.curated.cluster_health_hourly_v2;

CREATE OR REPLACE VIEW star.analytics.dim_day SECURITY INVOKER AS
SELECT DISTINCT
    day,
    date_trunc('week', day) AS week,
    day_of_week(day) AS weekday,
    day_of_week(day) >= 6 AS weekend
FROM fuelline.curated.agent_performance_daily;

CREATE OR REPLACE VIEW star.analytics.dim_agent SECURITY INVOKER AS
SELECT
    agent_name,
    min(day) AS first_day,
    max(day) AS last_day,
    sum(requests) AS requests
FROM fuelline.curated.agent_performance_daily
GROUP BY agent_name;

CREATE OR REPLACE VIEW star.analytics.dim_user SECURITY INVOKER AS
SELECT
    user_id,
    min(day) AS first_day,
    max(day) AS last_day,
    count(*) AS active_days,
    sum(requests) AS requests
FROM fuelline.curated.user_interaction_summary
GROUP BY user_id;

CREATE OR REPLACE VIEW star.analytics.dim_cluster SECURITY INVOKER AS
SELECT
    cluster,
    min(hour) AS first_hour,
    max(hour) AS last_hour
FROM fuelline.curated.cluster_health_hourly_v2
GROUP BY cluster;

CREATE OR REPLACE VIEW star.analytics.dim_training_set SECURITY INVOKER AS
SELECT
    training_set_id,
    model,
    cut,
    split_at,
    train_rows,
    test_rows,
    rated,
    trainings,
    model_versions
FROM fuelline.ml.training_datasets;
