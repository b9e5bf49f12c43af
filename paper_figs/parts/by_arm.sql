-- What the questions about the arms of an experiment begin with (a line `-- begins with: by_arm` in their own file):
--   asked   its runs, finished or not, each once, and named as this experiment names it, and by their settings where an arm has several
--   arm     its arms at each scale, data set and budget: how many runs are done, of how many, and what became of the rest
--   line    its finished runs, with the name that figures give the arm
--   note    one line that says where the numbers come from
--   judge   the distance that figures of quality show;  judged  its evaluations, by one feature network and reference a data set
--   quantile  for intervals of differences by seed
--   label   the name that such figures give an arm, with how many of its finished runs were judged so where not all were
-- An arm without a finished run is part of `arm`, and every answer shows it: what is not there must not look as if nobody had
-- asked. Of unfinished runs only those count that the experiment's newest text asks for. $scale, where it is given, leaves the others out.
WITH newest AS (
    SELECT p.experiment_id, x.yaml FROM plan p JOIN experiment x ON x.id = p.experiment_id
     WHERE x.name = :experiment ORDER BY p.created DESC, x.id DESC LIMIT 1
), found AS (
    SELECT r.*, p.arm AS plain, x.file, max(p.created) AS asked, coalesce(setting(r.config, 'data.name'), '') AS data,
           coalesce(setting(r.config, 'train.steps') * setting(r.config, 'train.batch'), 0) AS budget
      FROM experiment x JOIN plan p ON p.experiment_id = x.id JOIN run r ON r.id = p.run_id
     WHERE x.name = :experiment AND ($scale IS NULL OR r.scale = $scale)
       AND (r.state = 'done' OR p.experiment_id = (SELECT experiment_id FROM newest))
     GROUP BY r.id
), varying AS (   -- runs of an arm that differ in more than their seed, or from what its file asks for now, say so: 'EMA 0.99, train.lr=0.002'
    SELECT plain, scale, data, budget, settings_varying(config) AS keys
      FROM (SELECT plain, scale, data, budget, config FROM found
            UNION ALL SELECT plain, scale, data, budget, config_asked(config, file, plain, scale) FROM found)
     GROUP BY plain, scale, data, budget
), named AS (
    SELECT found.*, iif(plain = '', substr(settings_said(config, keys), 3), plain || settings_said(config, keys)) AS asked_as FROM found JOIN varying USING (plain, scale, data, budget)
), asked AS (   -- a seed counts once, whatever else was numbered anew since
    SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY asked_as, scale, data, budget, seed ORDER BY state <> 'done', asked DESC, created DESC) AS turn
                     FROM named) WHERE turn = 1
), place AS (   -- scale, data and budget are said once below a figure, or of each line where they differ
    SELECT count(DISTINCT scale || ' ' || data || ' ' || budget) AS places FROM asked
), fate AS (
    SELECT asked_as, scale, data, budget, group_concat(count || ' ' || state, ', ') || coalesce(': ' || substr(max(error), 1, instr(max(error) || ':', ':') - 1), '') AS fate
      FROM (SELECT asked_as, scale, data, budget, state, count(*) AS count, max(error) AS error FROM asked WHERE state <> 'done'
             GROUP BY asked_as, scale, data, budget, state ORDER BY state)
     GROUP BY asked_as, scale, data, budget
), arm AS (
    SELECT asked_as, scale, data, budget, min(asked) AS first, count(*) AS runs, sum(state = 'done') AS done, fate,
           iif(asked_as = '', :experiment, asked_as)
           || iif(places > 1, ' (' || scale || ', ' || data || ', ' || printf('%.4gk', budget / 1000.0) || ' images)', '')
           || iif(sum(state = 'done') BETWEEN 1 AND count(*) - 1, ' [' || sum(state = 'done') || ' of ' || count(*) || ']', '') AS series,
           iif(sum(state = 'done') = 0, ': ' || count(*) || iif(count(DISTINCT state) = 1, ' ' || min(state), ' unfinished'), ': no such number') AS lack
      FROM asked CROSS JOIN place LEFT JOIN fate USING (asked_as, scale, data, budget)
     GROUP BY asked_as, scale, data, budget
), line AS (
    SELECT asked.*, series, first, done, setting(config, 'evaluation.samples') + 0 AS usual_samples,   -- of every evaluation, and of the last
           max(setting(config, 'evaluation.samples') + 0, coalesce(setting(config, 'evaluation.samples_last'), 0) + 0) AS last_samples
      FROM asked JOIN arm USING (asked_as, scale, data, budget) WHERE state = 'done'
), note AS (
    SELECT 'note: scale ' || group_concat(DISTINCT scale) || '; data ' || group_concat(DISTINCT data) || '; '
           || iif(min(budget) = max(budget), printf('%.4gk', max(budget) / 1000.0), printf('%.4gk to %.4gk', min(budget) / 1000.0, max(budget) / 1000.0))
           || ' images; commit ' || group_concat(DISTINCT substr(git_commit, 1, 8)) || '; ' || count(DISTINCT seed)
           || iif(count(DISTINCT seed) = 1, ' seed; ', ' seeds; ') || group_concat(DISTINCT device) AS series
      FROM line HAVING count(*) > 0
), network AS (   -- a distance by another network, or from other images, is another distance, whatever its name: what most runs have, the newest of equals
    SELECT * FROM (SELECT data, e.metric, e.features_hash, e.reference_hash, count(DISTINCT e.run_id) AS runs,
                          row_number() OVER (PARTITION BY data, e.metric ORDER BY count(DISTINCT e.run_id) DESC, max(e.created) DESC) AS place
                     FROM line JOIN evaluation e ON e.run_id = line.id AND e.nfe > 0 AND (e.metric = 'fid' OR e.metric LIKE 'fd-%') AND e.metric NOT LIKE '%-deviation'
                    GROUP BY data, e.metric, e.features_hash, e.reference_hash) WHERE place = 1
), every AS (   -- as the runs' own settings ask for it, each once
    SELECT * FROM (SELECT line.*, e.step, e.nfe, e.metric, e.samples, e.value, e.features_hash, e.reference_hash,
                          row_number() OVER (PARTITION BY line.id, e.step, e.nfe, e.metric, e.samples ORDER BY e.created DESC) AS newest
                     FROM line JOIN network USING (data)
                     JOIN evaluation e ON e.run_id = line.id AND e.metric = network.metric AND e.features_hash = network.features_hash
                          AND e.reference_hash = network.reference_hash
                    WHERE e.nfe > 0 AND e.weights = setting(config, 'evaluation.weights') AND own_protocol(config, e.protocol)) WHERE newest = 1
), judge AS (   -- FID where it was computed, else the Frechet distance that most runs have
    SELECT metric FROM network GROUP BY metric ORDER BY metric <> 'fid', sum(runs) DESC, metric LIMIT 1
), judged AS (
    SELECT every.* FROM every JOIN judge USING (metric)
), label AS (
    SELECT series, series || iif(count(DISTINCT id) < done, ' [' || count(DISTINCT id) || ' of ' || done || ' judged]', '') AS label FROM judged GROUP BY series
), quantile(n, t) AS (   -- Student's t, 97.5 %, n - 1 degrees of freedom; more seeds than ten take the tenth's, which is wider
    VALUES (2, 12.7062), (3, 4.30265), (4, 3.18245), (5, 2.77645), (6, 2.57058), (7, 2.44691), (8, 2.36462), (9, 2.306), (10, 2.26216)
)
