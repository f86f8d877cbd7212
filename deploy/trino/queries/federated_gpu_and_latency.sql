-- Lake and Prometheus: whether vLLM's queue was full in slow hours. The time range keeps Prometheus' answer small.
WITH queue AS (
    SELECT
        date_trunc('hour', "timestamp" AT TIME ZONE 'UTC') AS hour,
        max(value) AS waiting
    FROM prometheus.default."vllm:num_requests_waiting"
    WHERE "timestamp" > current_timestamp - INTERVAL '24' HOUR
    GROUP BY 1
)
SELECT h.cluster, h.hour, h.requests, h.latency_p95_ms, q.waiting
FROM star.analytics.fact_cluster_hour AS h
LEFT JOIN queue AS q ON q.hour = h.hour
WHERE h.hour > current_timestamp - INTERVAL '24' HOUR
ORDER BY h.hour, h.cluster;
