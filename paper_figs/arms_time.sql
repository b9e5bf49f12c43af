-- title: :experiment: quality over time spent training
-- caption: As the figure arms, over seconds of training alone (images over images per second, tick by tick; evaluations and checkpoints not counted), mean over seeds.
WITH asked AS (
    SELECT r.*, p.arm AS asked_as, p.created AS asked, setting(r.config, 'data.name') AS data
      FROM experiment x JOIN plan p ON p.experiment_id = x.id JOIN run r ON r.id = p.run_id
     WHERE x.name = :experiment AND r.state = 'done'
), place AS (   -- scale and data are said once below the figure, or of each line where they differ
    SELECT count(DISTINCT scale || ' ' || data) AS places, group_concat(DISTINCT scale) AS scales, group_concat(DISTINCT data) AS sets,
           group_concat(DISTINCT substr(git_commit, 1, 8)) AS commits, count(DISTINCT seed) AS seeds, group_concat(DISTINCT device) AS devices
      FROM asked
), line AS (
    SELECT asked.*, iif(asked_as = '', :experiment, asked_as) || iif(places > 1, ' (' || scale || ', ' || data || ')', '') AS series
      FROM asked, place
), judge AS (
    SELECT e.metric FROM evaluation e JOIN line ON line.id = e.run_id
     WHERE e.nfe = 1 AND (e.metric = 'fid' OR e.metric LIKE 'fd-%') ORDER BY e.metric <> 'fid', e.metric LIMIT 1
), tick AS (
    SELECT run_id, step, images - lag(images, 1, 0) OVER (PARTITION BY run_id ORDER BY step) AS images, value AS rate
      FROM metric WHERE name = 'images_per_second' AND run_id IN (SELECT id FROM asked)
), spent AS (
    SELECT run_id, step, sum(images / rate) OVER (PARTITION BY run_id ORDER BY step) AS seconds FROM tick
)
SELECT series, x AS seconds, mean, low, high FROM (
    SELECT 0 AS part, 'note: scale ' || scales || '; data ' || sets || '; commit ' || commits || '; ' || seeds || iif(seeds = 1, ' seed; ', ' seeds; ')
           || devices AS series, 0 AS x, 0 AS mean, 0 AS low, 0 AS high FROM place WHERE scales IS NOT NULL
    UNION ALL
    SELECT 1, 'metric: ' || metric, 0, 0, 0, 0 FROM judge
    UNION ALL
    SELECT 1 + (SELECT min(asked) FROM line other WHERE other.series = line.series), 'arm: ' || series,
           avg((SELECT max(seconds) FROM spent WHERE spent.run_id = line.id AND spent.step <= e.step)), avg(e.value), min(e.value),
           max(e.value)
      FROM line JOIN evaluation e ON e.run_id = line.id JOIN judge USING (metric)
     WHERE e.nfe = 1 AND e.step > 0 AND e.weights = setting(config, 'evaluation.weights')
       AND e.samples = setting(config, 'evaluation.samples') + 0 AND e.protocol = setting(config, 'evaluation.rounding')
     GROUP BY series, e.step * setting(config, 'train.batch')
) ORDER BY part, series, x
