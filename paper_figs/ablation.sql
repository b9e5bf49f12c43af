-- title: :experiment, by arm, at the last step
-- caption: Mean over seeds and their standard deviation; n: runs that have the number, of how many where some have not. A metric that several feature networks measured, or against several references, is named by theirs. Arms without a finished run stand in the table with what became of their runs. Distances on random features compare only within one data set and sample count; they are not FID.
-- begins with: by_arm
, last AS (
    SELECT line.*, e.nfe, e.metric
           || iif(min(e.features_hash) OVER alike < max(e.features_hash) OVER alike, ' by ' || substr(e.features_hash, 1, 8), '')
           || iif(min(e.reference_hash) OVER alike < max(e.reference_hash) OVER alike, ' from ' || substr(e.reference_hash, 1, 8), '') AS metric,
           e.weights, e.value, e.samples, e.protocol, e.features_hash, e.reference_hash
      FROM line JOIN evaluation e ON e.run_id = line.id AND e.nfe > 0
     WHERE e.step = (SELECT max(step) FROM evaluation WHERE run_id = line.id AND nfe > 0) AND e.metric NOT LIKE '%-class-%'
    WINDOW alike AS (PARTITION BY data, e.metric)
), mean AS (
    SELECT asked_as, scale, data, budget, metric, nfe, samples, protocol, weights, avg(value) AS mean, count(*) AS n,
           avg(value * value) - avg(value) * avg(value) AS variance, group_concat(DISTINCT substr(git_commit, 1, 8)) AS "commit", group_concat(DISTINCT device) AS device
      FROM last GROUP BY asked_as, scale, data, budget, metric, nfe, samples, protocol, features_hash, reference_hash, weights
)
SELECT asked_as AS arm, metric, nfe AS NFE, iif(n, printf('%.4g', mean), NULL) AS mean,
       CASE WHEN n > 1 THEN printf('%.2g', sqrt(max(0, variance * n / (n - 1)))) END AS "s.d.",
       CASE WHEN n IS NULL THEN 'missing: ' || coalesce(fate, done || ' done, without an evaluation')
            ELSE n || iif(n < runs, ' of ' || runs, '') END AS n,
       samples, protocol, weights, scale, data, budget AS images, "commit", device
  FROM arm LEFT JOIN mean USING (asked_as, scale, data, budget)
 ORDER BY scale, data, budget, metric IS NULL, metric, nfe, first, asked_as
