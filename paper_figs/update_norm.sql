-- title: :experiment: norm of the optimiser's updates
-- caption: Mean and variance over the steps of each tick of the norm of the whole update (figure 6b of the paper compares l2 and pseudo-Huber), mean over seeds and their range. Arms without a finished run are named.
-- begins with: by_arm
, point AS (
    SELECT series, first, m.name, m.images AS x, avg(m.value) AS mean, min(m.value) AS low, max(m.value) AS high
      FROM line JOIN metric m ON m.run_id = line.id WHERE m.name IN ('update_norm_mean', 'update_norm_variance')
     GROUP BY series, m.name, m.images
)
SELECT series, x AS images, mean, low, high FROM (
    SELECT '' AS part, 0 AS first, series, 0 AS x, 0 AS mean, 0 AS low, 0 AS high FROM note
    UNION ALL
    SELECT name, first, iif(name = 'update_norm_mean', 'mean: ', 'variance: ') || series, x, mean, low, high FROM point
    UNION ALL
    SELECT 'z', first, 'lack: ' || series || lack, NULL, NULL, NULL, NULL FROM arm
     WHERE series NOT IN (SELECT series FROM point) AND EXISTS (SELECT 1 FROM point)
) ORDER BY part, first, series, x
