-- title: :experiment: quality at the end
-- caption: Frechet distance of samples of the last checkpoint (FID where it was computed, else on the features that the figure names): mean, standard deviation over seeds, and every seed as a point. Floor: real images against real ones. Arms without a finished run are named.
-- begins with: by_arm
, point AS (
    SELECT * FROM judged
     WHERE samples = last_samples AND step = (SELECT max(step) FROM evaluation WHERE run_id = judged.id AND nfe > 0)
), mean AS (
    SELECT series, nfe, avg(value) AS mean,
           CASE WHEN count(*) > 1 THEN sqrt(max(0, (avg(value * value) - avg(value) * avg(value)) * count(*) / (count(*) - 1.0))) ELSE 0 END AS sd
      FROM point GROUP BY series, nfe
)
SELECT series, nfe, value, mean, sd FROM (
    SELECT 0 AS part, series, 0 AS nfe, 0 AS value, 0 AS mean, 0 AS sd, 0 AS seed FROM note, judge
    UNION ALL
    SELECT 1, 'metric: ' || metric, 0, 0, 0, 0, 0 FROM judge
    UNION ALL
    SELECT 2, 'floor', 0, avg(value), 0, 0, 0 FROM (
        SELECT DISTINCT point.id, e.value FROM point JOIN evaluation e ON e.run_id = point.id AND e.weights = 'reference'
               AND e.metric = point.metric || '-floor' AND e.features_hash = point.features_hash AND e.reference_hash = point.reference_hash
               AND e.samples = (SELECT max(samples) FROM evaluation WHERE run_id = e.run_id AND metric = e.metric AND samples <= point.samples)
         WHERE (SELECT count(DISTINCT scale || data) FROM line) = 1) HAVING count(*) > 0
    UNION ALL
    SELECT 3 + first, 'arm: ' || label, nfe, value, mean, sd, seed FROM point JOIN mean USING (series, nfe) JOIN label USING (series)
    UNION ALL
    SELECT 3 + first, 'arm: ' || series || lack, NULL, NULL, NULL, NULL, NULL FROM arm, judge WHERE series NOT IN (SELECT series FROM point)
) ORDER BY part, series, nfe, seed
