-- What the tables beside the published numbers begin with (`-- begins with: beside`):
--   ours    finished runs of experiments/ (not its calibrations; arms of questions have tables of their own) at their last evaluation, as their own
--           settings ask for it, mean over seeds; a row a scale, data set and budget, which never share one
--   theirs  published numbers as text, * on those that wait for a check against the paper
WITH found AS (
    SELECT r.*, x.name AS experiment, x.file, p.arm AS asked_as, setting(r.config, 'data.name') AS data,
           setting(r.config, 'train.steps') * setting(r.config, 'train.batch') AS budget,
           (SELECT max(step) FROM evaluation WHERE run_id = r.id AND nfe > 0) AS step
      FROM run r JOIN plan p ON p.run_id = r.id JOIN experiment x ON x.id = p.experiment_id
     WHERE r.state = 'done' AND '/' || x.file LIKE '%/experiments/%' AND x.file NOT LIKE '%/calibration/%' GROUP BY r.id
), varying AS (   -- what the command line changed is said, and what the file has changed since: 'ours: cifar10_main, train.lr=0.0002'
    SELECT experiment, asked_as, scale, data, budget, settings_varying(config) AS keys
      FROM (SELECT experiment, asked_as, scale, data, budget, config FROM found
            UNION ALL SELECT experiment, asked_as, scale, data, budget, config_asked(config, file, asked_as, scale) FROM found)
     GROUP BY experiment, asked_as, scale, data, budget
), last AS (   -- a seed counts once
    SELECT * FROM (SELECT found.*, settings_said(config, keys) AS said,
                          row_number() OVER (PARTITION BY experiment, asked_as, scale, data, budget, seed, settings_said(config, keys) ORDER BY created DESC) AS turn
                     FROM found JOIN varying USING (experiment, asked_as, scale, data, budget)) WHERE turn = 1
), ours AS (
    SELECT 'ours: ' || experiment || iif(asked_as = '', '', ', ' || asked_as) || said AS method, last.scale, data, budget, git_commit,
           e.nfe, e.samples, e.metric, e.reference_hash, avg(e.value) AS value, count(*) AS n, max(floor.value) AS floor
      FROM last JOIN evaluation e ON e.run_id = last.id AND e.step = last.step AND e.nfe > 0
           AND e.weights = setting(config, 'evaluation.weights') AND own_protocol(config, e.protocol)
      LEFT JOIN evaluation floor ON floor.run_id = last.id AND floor.weights = 'reference' AND floor.metric = e.metric || '-floor'
           AND floor.samples = e.samples AND floor.features_hash = e.features_hash AND floor.reference_hash = e.reference_hash
     GROUP BY method, last.scale, data, budget, git_commit, e.nfe, e.samples, e.metric, e.protocol, e.features_hash, e.reference_hash
), theirs AS (
    SELECT rowid AS place, dataset, method, nfe, metric, printf('%.2f', value) || iif(source LIKE '%memory%', '*', '') AS value,
           substr(source, 1, instr(source || ' (', ' (') - 1) AS source
      FROM published
)
