-- title: Finished runs, mean over seeds at their last step
-- caption: Evaluations of the last checkpoint. n: seeds; s.d. over them. A metric that several feature networks measured is named by theirs. Distances on random features compare only within one data set, sample count and floor; they are not FID.
WITH found AS (
    SELECT r.id, x.name AS experiment, x.file, p.arm, r.scale, r.seed, r.git_commit, r.config, r.created,
           coalesce(setting(r.config, 'data.name'), '') AS data,
           (SELECT max(step) FROM evaluation e WHERE e.run_id = r.id AND e.nfe > 0) AS step
      FROM run r JOIN plan p ON p.run_id = r.id JOIN experiment x ON x.id = p.experiment_id WHERE r.state = 'done' GROUP BY r.id, x.name
), varying AS (   -- what the command line changed is said, and what the file has changed since
    SELECT experiment, arm, scale, data, settings_varying(config) AS keys
      FROM (SELECT experiment, arm, scale, data, config FROM found
            UNION ALL SELECT experiment, arm, scale, data, config_asked(config, file, arm, scale) FROM found)
     GROUP BY experiment, arm, scale, data
), last AS (   -- a seed counts once
    SELECT * FROM (SELECT found.*, settings_said(config, keys) AS said,
                          row_number() OVER (PARTITION BY experiment, arm, scale, data, seed, settings_said(config, keys) ORDER BY created DESC) AS turn
                     FROM found JOIN varying USING (experiment, arm, scale, data)) WHERE turn = 1
), value AS (
    SELECT l.*, e.nfe, e.metric
           || iif(min(e.features_hash) OVER alike < max(e.features_hash) OVER alike, ' by ' || substr(e.features_hash, 1, 8), '')
           || iif(min(e.reference_hash) OVER alike < max(e.reference_hash) OVER alike, ' from ' || substr(e.reference_hash, 1, 8), '') AS metric,
           e.weights, e.value, e.samples, e.protocol, e.features_hash, e.reference_hash
      FROM last l JOIN evaluation e ON e.run_id = l.id AND e.step = l.step AND e.nfe > 0
     WHERE e.metric NOT LIKE '%-class-%'
    WINDOW alike AS (PARTITION BY data, e.metric)
)
SELECT experiment, iif(arm = '', substr(said, 3), arm || said) AS arm, scale, data, metric, weights, nfe AS NFE, printf('%.4g', avg(value)) AS mean,
       CASE WHEN count(*) > 1
            THEN printf('%.2g', sqrt(max(0, (avg(value * value) - avg(value) * avg(value)) * count(*) / (count(*) - 1)))) END AS "s.d.",
       count(*) AS n, samples, protocol, group_concat(DISTINCT substr(git_commit, 1, 8)) AS "commit"
  FROM value
 GROUP BY experiment, arm, said, scale, data, metric, weights, nfe, samples, protocol, features_hash, reference_hash
 ORDER BY experiment, metric, nfe, arm
