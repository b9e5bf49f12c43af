-- title: :experiment: quality over images seen
-- caption: Frechet distance of one-step samples (FID where it was computed, else on the features that the figure names), mean over seeds and their range. Arms without a finished run are named.
-- begins with: by_arm
, point AS (
    SELECT series, first, step * setting(config, 'train.batch') AS x, avg(value) AS mean, min(value) AS low, max(value) AS high
      FROM judged WHERE nfe = 1 AND samples = usual_samples GROUP BY series, step * setting(config, 'train.batch')
)
SELECT series, x AS images, mean, low, high FROM (
    SELECT 0 AS part, series, 0 AS x, 0 AS mean, 0 AS low, 0 AS high FROM note, judge
    UNION ALL
    SELECT 1, 'metric: ' || metric, 0, 0, 0, 0 FROM judge
    UNION ALL
    SELECT 1 + first, 'arm: ' || label, x, mean, low, high FROM point JOIN label USING (series)
    UNION ALL
    SELECT 1 + first, 'lack: ' || series || lack, NULL, NULL, NULL, NULL FROM arm, judge WHERE series NOT IN (SELECT series FROM point)
) ORDER BY part, series, x
