-- The data that models were trained on, and the calls since then, which the next training would be the first to use.
SELECT
    t.model,
    t.training_set_id,
    t.cut,
    t.train_rows,
    t.test_rows,
    t.trainings,
    t.model_versions,
    count(f.interaction_id) AS calls_since
FROM star.analytics.dim_training_set AS t
LEFT JOIN star.analytics.fact_interaction AS f ON f.asked_at >= t.cut
GROUP BY t.model, t.training_set_id, t.cut, t.train_rows, t.test_rows, t.trainings, t.model_versions
ORDER BY t.cut DESC, t.training_set_id;
