-- title: :experiment: norm of the optimiser's updates
-- caption: Mean and variance over the steps of each tick of the norm of the whole update (figure 6b of the paper compares l2 and pseudo-Huber), mean over seeds and their range.
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
)
SELECT series, x AS images, mean, low, high FROM (
    SELECT 0 AS part, 'note: scale ' || scales || '; data ' || sets || '; commit ' || commits || '; ' || seeds || iif(seeds = 1, ' seed; ', ' seeds; ')
           || devices AS series, 0 AS x, 0 AS mean, 0 AS low, 0 AS high FROM place WHERE scales IS NOT NULL
    UNION ALL
    SELECT 1 + (SELECT min(asked) FROM line other WHERE other.series = line.series),
           iif(m.name = 'update_norm_mean', 'mean: ', 'variance: ') || series, m.images, avg(m.value), min(m.value), max(m.value)
      FROM line JOIN metric m ON m.run_id = line.id WHERE m.name IN ('update_norm_mean', 'update_norm_variance')
     GROUP BY series, m.name, m.images
) ORDER BY part, series, x
