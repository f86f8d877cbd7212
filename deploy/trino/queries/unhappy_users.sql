-- Users with the most negative ratings and failures in the newest seven days. Confidential: it shows user ids.
WITH newest AS (
    SELECT max(day) AS day FROM star.analytics.dim_day
),
recent AS (
    SELECT
        f.user_id,
        sum(f.requests) AS requests,
        sum(f.errors) AS errors,
        sum(f.rated - f.thumbs_up) AS thumbs_down
    FROM star.analytics.fact_user_day AS f
    CROSS JOIN newest AS n
    WHERE f.day > n.day - INTERVAL '7' DAY
    GROUP BY f.user_id
)
SELECT r.user_id, r.requests, r.errors, r.thumbs_down, u.first_day, u.active_days
FROM recent AS r
JOIN star.analytics.dim_user AS u ON u.user_id = r.user_id
WHERE r.thumbs_down + r.errors > 0
ORDER BY r.thumbs_down + r.errors DESC, r.user_id
LIMIT 25;
