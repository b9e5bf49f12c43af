-- title: :experiment: does the arm that the paper found best win here?
-- caption: Paired differences (this arm minus the paper's best, same seed, hence same noise, data order and initialisation), their mean and its 95 % interval (Student's t). n: pairs, and of how many runs of the arm where some have no pair. Positive: the paper's best is better. A verdict needs three seeds and an interval without zero; arms about which the paper says nothing get none.
-- begins with: by_arm
, claim AS (
    SELECT claim_best(yaml) AS best, yaml FROM newest
), last AS (
    SELECT line.*, e.metric
           || iif(min(e.features_hash) OVER alike < max(e.features_hash) OVER alike, ' by ' || substr(e.features_hash, 1, 8), '')
           || iif(min(e.reference_hash) OVER alike < max(e.reference_hash) OVER alike, ' from ' || substr(e.reference_hash, 1, 8), '') AS metric,
           e.nfe, e.weights, e.samples, e.protocol, e.features_hash, e.reference_hash, e.value
      FROM line JOIN evaluation e ON e.run_id = line.id AND e.nfe > 0 AND (e.metric = 'fid' OR e.metric LIKE 'fd-%')
           AND e.metric NOT LIKE '%-deviation'
     WHERE e.step = (SELECT max(step) FROM evaluation WHERE run_id = line.id AND nfe > 0)
    WINDOW alike AS (PARTITION BY data, e.metric)
), pair AS (   -- `point`: what a grid appends to the arm's name
    SELECT other.*, substr(one.asked_as, length(best) + 1) AS point, other.value - one.value AS difference
      FROM claim CROSS JOIN last one JOIN last other
           USING (scale, data_hash, budget, seed, metric, nfe, weights, samples, protocol, features_hash, reference_hash)
     WHERE (one.asked_as = best OR one.asked_as LIKE best || ', %=%') AND other.asked_as <> one.asked_as
       AND other.asked_as LIKE '%' || substr(one.asked_as, length(best) + 1)
       AND (one.asked_as <> best OR other.asked_as NOT LIKE best || ', %=%')
), spread AS (
    SELECT scale, data, budget, metric, nfe, samples, protocol, weights, asked_as, substr(asked_as, 1, length(asked_as) - length(point)) AS name, count(*) AS n,
           avg(difference) AS mean,
           sqrt(max(0, (avg(difference * difference) - avg(difference) * avg(difference)) * count(*) / (count(*) - 1.0))) AS sd
      FROM pair GROUP BY scale, data, budget, data_hash, metric, nfe, weights, samples, protocol, features_hash, reference_hash, asked_as, point
), bounds AS (
    SELECT spread.*, t * sd / sqrt(spread.n) AS half FROM spread LEFT JOIN quantile ON quantile.n = min(spread.n, 10)
)
SELECT metric, nfe AS NFE, asked_as AS arm, coalesce(n, done) || iif(coalesce(n, done) BETWEEN 1 AND runs - 1, ' of ' || runs, '') AS n, iif(n, printf('%+.4g', mean), NULL) AS difference,
       CASE WHEN n >= 2 THEN printf('%+.4g to %+.4g', mean - half, mean + half) END AS "95 %",
       CASE WHEN done = 0 THEN 'missing: ' || fate WHEN best IS NULL THEN 'no claim' WHEN n IS NULL THEN 'nothing to compare it with'
            WHEN NOT claim_worse(yaml, name) THEN 'no claim' WHEN n < 3 THEN 'undecided (n = ' || n || ')'
            WHEN mean - half > 0 THEN 'agrees' WHEN mean + half < 0 THEN 'disagrees' ELSE 'undecided' END AS verdict,
       samples, protocol, weights, scale, data, budget AS images
  FROM arm CROSS JOIN claim LEFT JOIN bounds USING (asked_as, scale, data, budget)
 WHERE n IS NOT NULL OR done = 0 OR best IS NULL OR NOT (asked_as = best OR asked_as LIKE best || ', %=%')
 ORDER BY scale, data, budget, metric IS NULL, metric, nfe, samples, first, asked_as
