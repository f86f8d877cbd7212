-- Lake and Loki: hours with failed calls, and the number of error lines that the agents' pods wrote in them.
WITH lines AS (
    SELECT
        date_trunc('hour', "timestamp" AT TIME ZONE 'UTC') AS hour,
        sum(value) AS error_lines
    FROM TABLE(
        loki.system.query_range(
            'sum(count_over_time({namespace="agents"} |= "error" [1h]))',
            TIMESTAMP '2026-11-07 00:00:00',
            TIMESTAMP '2026-11-08 00:00:00'
        )
    )
    GROUP BY 1
)
SELECT h.hour, h.cluster, h.requests, h.errors, l.error_lines
FROM star.analytics.fact_cluster_hour AS h
LEFT JOIN lines AS l ON l.hour = h.hour
WHERE h.errors > 0 AND h.day = TIMESTAMP '2026-11-07 00:00:00 UTC'
ORDER BY h.hour, h.cluster;
