-- The requests that count in the comparison of the two arms, with the last rating of each.
--
-- Only users on the arm that the ledger's share puts them on. For about a second after a step, longer where the store
-- cannot be reached, a gateway still follows the share before, and nothing says for which users it did.
-- serving/routing/split.py maps a unit to its place between 0 and 1. A row of the candidate's arm counts only where the
-- answer names the candidate, and a row of the stable arm only where it does not.
SELECT p.timestamp AS time, p.unit, p.arm = 'candidate' AS candidate, p.failed, p.latency_ms, p.agent_name,
       p.model_version, f.down
FROM predictions AS p ASOF JOIN steps AS s ON p.timestamp >= s.time LEFT JOIN (
    SELECT interaction_id, arg_max(value, timestamp) = 0 AS down FROM feedback GROUP BY interaction_id
) AS f USING (interaction_id)
WHERE (('0x' || left(p.unit, 16))::UBIGINT < s.share * 18446744073709551616) = (p.arm = 'candidate')
  AND (p.model_version = $adapter) = (p.arm = 'candidate')
ORDER BY p.timestamp, p.interaction_id
