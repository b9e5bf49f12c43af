-- title: :experiment, by arm, at the last step
-- caption: Mean over seeds (n) and their standard deviation. Distances on random features compare only within one data set and sample count; they are not FID.
WITH asked AS (
    SELECT r.id, p.arm, r.scale, r.seed, r.git_commit, r.device, p.created,
           setting(r.config, 'data.name') AS data
      FROM experiment x JOIN plan p ON p.experiment_id = x.id JOIN run r ON r.id = p.run_id
     WHERE x.name = :experiment AND r.state = 'done'
), last AS (
    SELECT a.*, e.nfe, e.metric, e.weights, e.value, e.samples, e.protocol, e.features_hash, e.reference_hash
      FROM asked a JOIN evaluation e ON e.run_id = a.id AND e.nfe > 0
     WHERE e.step = (SELECT max(step) FROM evaluation WHERE run_id = a.id AND nfe > 0) AND e.metric NOT LIKE '%-class-%'
)
SELECT arm, metric, nfe AS NFE, printf('%.4g', avg(value)) AS mean,
       CASE WHEN count(*) > 1
            THEN printf('%.2g', sqrt(max(0, (avg(value * value) - avg(value) * avg(value)) * count(*) / (count(*) - 1)))) END AS "s.d.",
       count(*) AS n, samples, protocol, weights, scale, data, substr(min(git_commit), 1, 8) AS "commit", min(device) AS device
  FROM last GROUP BY scale, data, metric, nfe, samples, protocol, features_hash, reference_hash, weights, arm
 ORDER BY scale, data, metric, nfe, min(created), arm
