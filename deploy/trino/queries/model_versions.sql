-- Each model version on each cluster: calls, failures, feedback, latency. Failed calls have no latency here.
SELECT
    model_version,
    cluster,
    count(*) AS requests,
    avg(CASE WHEN error THEN 1e0 ELSE 0e0 END) AS error_rate,
    count(feedback) AS rated,
    avg(CAST(feedback AS double)) AS liked,
    avg(CAST(CASE WHEN NOT error THEN latency_ms END AS double)) AS latency_mean_ms,
    max(CASE WHEN NOT error THEN latency_ms END) AS latency_max_ms
FROM star.analytics.fact_interaction
GROUP BY model_version, cluster
ORDER BY requests DESC, model_version, cluster;
