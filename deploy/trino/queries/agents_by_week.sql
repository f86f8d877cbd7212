-- Calls and failures of each agent by ISO week, and the change of its failures since the week before.
WITH weekly AS (
    SELECT
        d.week,
        f.agent_name,
        sum(f.requests) AS requests,
        CAST(sum(f.errors) AS double) / sum(f.requests) AS error_rate,
        sum(f.tokens) AS tokens,
        CAST(sum(f.thumbs_up) AS double) / nullif(sum(f.rated), 0) AS liked,
        max(f.latency_p95_ms) AS worst_p95_ms
    FROM star.analytics.fact_agent_day AS f
    JOIN star.analytics.dim_day AS d ON d.day = f.day
    GROUP BY d.week, f.agent_name
)
SELECT
    week,
    agent_name,
    requests,
    error_rate,
    error_rate - lag(error_rate) OVER (PARTITION BY agent_name ORDER BY week) AS error_rate_change,
    tokens,
    liked,
    worst_p95_ms
FROM weekly
ORDER BY week, agent_name;
