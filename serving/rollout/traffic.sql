-- Users, hours, requests and ratings of some interactions, and the bad rate of each metric in them.
WITH ratings AS (
    SELECT interaction_id, feedback AS value FROM rows WHERE feedback IS NOT NULL
    UNION SELECT interaction_id, value FROM late_ratings SEMI JOIN rows USING (interaction_id)
), rated AS (SELECT interaction_id, min(value) = 0 AS down FROM ratings GROUP BY interaction_id)
SELECT count(DISTINCT user_id), greatest(1, date_diff('minute', min(timestamp), max(timestamp)) / 60), count(*),
       (SELECT count(*) FROM rated), avg(error::INT), avg((latency_ms > $slo)::INT),
       (SELECT coalesce(avg(down::INT), 0) FROM rated)
FROM rows
