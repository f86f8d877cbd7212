-- The candidate's last calls that did not reach it while the stable version answered, and the minutes they span.
--
-- A call that found the version loaded on no replica is recorded without an arm: it says nothing about answers.
WITH calls AS (
    SELECT timestamp, arm IS NULL OR model_version <> $adapter AS missed FROM predictions
    WHERE CASE WHEN arm IS NULL THEN failed ELSE arm = 'candidate' END
), edge AS (
    SELECT least(
        (SELECT max(timestamp) - to_seconds($seconds) FROM calls),
        (SELECT min(timestamp) FROM (SELECT timestamp FROM calls ORDER BY timestamp DESC LIMIT $least))
    ) AS since
), recent AS (
    SELECT count(*) FILTER (missed) AS missed, count(*) AS calls,
           min(timestamp) FILTER (missed) AS first, max(timestamp) FILTER (missed) AS last
    FROM calls, edge WHERE timestamp >= since
)
SELECT missed, calls, date_diff('second', first, last) / 60 FROM recent
WHERE EXISTS (FROM predictions WHERE arm = 'stable' AND NOT failed AND timestamp BETWEEN first AND last)
