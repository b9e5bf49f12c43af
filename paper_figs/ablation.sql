-- title: :experiment, by arm, at the last step
-- caption: Mean over seeds and their standard deviation; n: finished runs, of how many where some are not. Arms without a finished run stand in the table with what became of their runs. Distances on random features compare only within one data set and sample count; they are not FID.
-- begins with: by_arm
, last AS (
    SELECT line.*, e.nfe, e.metric, e.weights, e.value, e.samples, e.protocol, e.features_hash, e.reference_hash
      FROM line JOIN evaluation e ON e.run_id = line.id AND e.nfe > 0
     WHERE e.step = (SELECT max(step) FROM evaluation WHERE run_id = line.id AND nfe > 0) AND e.metric NOT LIKE '%-class-%'
), mean AS (
    SELECT asked_as, scale, data, budget, metric, nfe, samples, protocol, weights, avg(value) AS mean, count(*) AS n,
           avg(value * value) - avg(value) * avg(value) AS variance, min(git_commit) AS git_commit, min(device) AS device
      FROM last GROUP BY asked_as, scale, data, budget, metric, nfe, samples, protocol, features_hash, reference_hash, weights
)
SELECT asked_as AS arm, metric, nfe AS NFE, iif(n, printf('%.4g', mean), NULL) AS mean,
       CASE WHEN n > 1 THEN printf('%.2g', sqrt(max(0, variance * n / (n - 1)))) END AS "s.d.",
       CASE WHEN n IS NULL THEN 'missing: ' || coalesce(fate, done || ' done, without an evaluation')
            ELSE n || iif(done < runs, ' of ' || runs, '') END AS n,
       samples, protocol, weights, scale, data, budget AS images, substr(git_commit, 1, 8) AS "commit", device
  FROM arm LEFT JOIN mean USING (asked_as, scale, data, budget)
 ORDER BY scale, data, budget, metric IS NULL, metric, nfe, first, asked_as
