-- title: :experiment: quality over time spent training
-- caption: As the figure arms, over seconds of training alone (images over images per second, tick by tick; evaluations and checkpoints not counted), mean over seeds.
-- begins with: by_arm
, tick AS (
    SELECT run_id, step, images - lag(images, 1, 0) OVER (PARTITION BY run_id ORDER BY step) AS images, value AS rate
      FROM metric WHERE name = 'images_per_second' AND run_id IN (SELECT id FROM line)
), spent AS (
    SELECT run_id, step, sum(images / rate) OVER (PARTITION BY run_id ORDER BY step) AS seconds FROM tick
), timed AS (   -- of recorded runs the rates may be left out
    SELECT judged.*, (SELECT max(seconds) FROM spent WHERE spent.run_id = judged.id AND spent.step <= judged.step) AS seconds
      FROM judged WHERE nfe = 1 AND step > 0 AND samples = usual_samples
), point AS (
    SELECT series, first, avg(seconds) AS x,
           avg(value) AS mean, min(value) AS low, max(value) AS high
      FROM timed WHERE seconds > 0 GROUP BY series, step * setting(config, 'train.batch')
)
SELECT series, x AS seconds, mean, low, high FROM (
    SELECT 0 AS part, series, 0 AS x, 0 AS mean, 0 AS low, 0 AS high FROM note, judge WHERE EXISTS (SELECT 1 FROM point)
    UNION ALL
    SELECT 1, 'metric: ' || metric, 0, 0, 0, 0 FROM judge WHERE EXISTS (SELECT 1 FROM point)
    UNION ALL
    SELECT 1 + first, 'arm: ' || label, x, mean, low, high FROM point JOIN label USING (series)
    UNION ALL
    SELECT 1 + first, 'lack: ' || series || lack, NULL, NULL, NULL, NULL FROM arm, judge WHERE series NOT IN (SELECT series FROM point) AND EXISTS (SELECT 1 FROM point)
) ORDER BY part, series, x
