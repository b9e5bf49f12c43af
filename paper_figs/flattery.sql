-- title: :experiment: who finds how much progress
-- caption: Frechet distances of samples of the last checkpoint by three networks, each relative to the geometric mean, at the same seed, of the arms that were not trained against the loss network; mean (of logarithms) and every seed. An arm that stands further left by the loss network than by the judge, which it never met, has learned to please. Arms without a finished run are named.
-- begins with: by_arm
, point AS (
    SELECT *, setting(config, 'ct.distance') = 'perceptual' AS knows,
           CASE metric WHEN 'fd-classifier' THEN 1 WHEN 'fd-classifier-loss' THEN 2 ELSE 3 END AS judge
      FROM every WHERE metric IN ('fd-classifier', 'fd-classifier-loss', 'fd-random') AND value > 0
       AND samples = last_samples AND step = (SELECT max(step) FROM evaluation WHERE run_id = every.id AND nfe > 0)
), others AS (
    SELECT scale, data, budget, seed, nfe, judge, features_hash, reference_hash, avg(ln(value)) AS base
      FROM point WHERE NOT knows GROUP BY scale, data, budget, seed, nfe, judge, features_hash, reference_hash
), relative AS (
    SELECT series, first, seed, nfe, judge, ln(value) - base AS x
      FROM point JOIN others USING (scale, data, budget, seed, nfe, judge, features_hash, reference_hash)
     WHERE EXISTS (SELECT 1 FROM point WHERE judge = 1) AND EXISTS (SELECT 1 FROM point WHERE judge = 2)
)
SELECT series, nfe, judge, value, mean FROM (
    SELECT 0 AS part, series, 0 AS nfe, 0 AS judge, 0 AS value, 0 AS mean, 0 AS seed FROM note WHERE EXISTS (SELECT 1 FROM relative)
    UNION ALL
    SELECT 1 + first, 'arm: ' || series, nfe, judge, exp(x), exp(avg(x) OVER (PARTITION BY series, nfe, judge)), seed FROM relative
    UNION ALL
    SELECT 1 + first, 'arm: ' || series || lack, NULL, NULL, NULL, NULL, NULL FROM arm
     WHERE EXISTS (SELECT 1 FROM relative) AND series NOT IN (SELECT series FROM relative)
) ORDER BY part, series, nfe, judge, seed
