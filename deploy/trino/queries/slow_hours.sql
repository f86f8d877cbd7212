-- Hours in which a cluster was more than 1.5 times as slow as in its median hour, among hours with at least ten calls.
WITH ranked AS (
    SELECT
        cluster,
        hour,
        requests,
        errors,
        latency_p95_ms,
        row_number() OVER (PARTITION BY cluster ORDER BY latency_p95_ms) AS place,
        count(*) OVER (PARTITION BY cluster) AS hours
    FROM star.analytics.fact_cluster_hour
    WHERE requests >= 10 AND latency_p95_ms IS NOT NULL
),
middle AS (
    SELECT cluster, latency_p95_ms AS middle_p95_ms
    FROM ranked
    WHERE 2 * place BETWEEN hours AND hours + 1
)
SELECT r.cluster, r.hour, r.requests, r.errors, r.latency_p95_ms, m.middle_p95_ms
FROM ranked AS r
JOIN middle AS m ON m.cluster = r.cluster
WHERE r.latency_p95_ms > 1.5 * m.middle_p95_ms
ORDER BY r.latency_p95_ms DESC, r.hour
LIMIT 50;
