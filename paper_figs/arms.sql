-- title: :experiment: quality over images seen
-- caption: Frechet distance of one-step samples (FID where it was computed, else on the features that the figure names), mean over seeds and their range. Arms without a finished run are named.
-- begins with: by_arm
, point AS (
    SELECT series, first, e.step * setting(config, 'train.batch') AS x, avg(e.value) AS mean, min(e.value) AS low, max(e.value) AS high
      FROM line JOIN evaluation e ON e.run_id = line.id JOIN judge USING (metric)
     WHERE e.nfe = 1 AND e.weights = setting(config, 'evaluation.weights') AND e.samples = usual_samples AND own_protocol(config, e.protocol)
     GROUP BY series, e.step * setting(config, 'train.batch')
)
SELECT series, x AS images, mean, low, high FROM (
    SELECT 0 AS part, series, 0 AS x, 0 AS mean, 0 AS low, 0 AS high FROM note, judge
    UNION ALL
    SELECT 1, 'metric: ' || metric, 0, 0, 0, 0 FROM judge
    UNION ALL
    SELECT 1 + first, 'arm: ' || series, x, mean, low, high FROM point
    UNION ALL
    SELECT 1 + first, 'lack: ' || series || lack, NULL, NULL, NULL, NULL FROM arm, judge WHERE series NOT IN (SELECT series FROM point)
) ORDER BY part, series, x
