-- title: :experiment: does the arm that the paper found best win here?
-- caption: Paired differences (this arm minus the paper's best, same seed, hence same noise, data order and initialisation), their mean and its 95 % interval (Student's t). Positive: the paper's best is better. A verdict needs three seeds and an interval without zero; arms about which the paper says nothing get none.
WITH quantile(n, t) AS (VALUES (2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (6, 2.571), (7, 2.447), (8, 2.365), (9, 2.306), (10, 2.262)),
asked AS (
    SELECT r.id, p.arm, r.scale, r.seed, r.data_hash, x.yaml, claim_best(x.yaml) AS best, p.created
      FROM experiment x JOIN plan p ON p.experiment_id = x.id JOIN run r ON r.id = p.run_id
     WHERE x.name = :experiment AND r.state = 'done'
), last AS (
    SELECT a.*, e.metric, e.nfe, e.weights, e.samples, e.protocol, e.features_hash, e.reference_hash, e.value
      FROM asked a JOIN evaluation e ON e.run_id = a.id AND e.nfe > 0 AND (e.metric = 'fid' OR e.metric LIKE 'fd-%') AND e.metric NOT LIKE '%-deviation'
     WHERE e.step = (SELECT max(step) FROM evaluation WHERE run_id = a.id AND nfe > 0)
), pair AS (
    SELECT other.*, substr(one.arm, length(one.best) + 1) AS point, other.value - one.value AS difference
      FROM last one JOIN last other USING (scale, seed, data_hash, metric, nfe, weights, samples, protocol, features_hash, reference_hash)
     WHERE (one.arm = one.best OR one.arm LIKE one.best || ', %=%') AND other.arm <> one.arm AND other.yaml = one.yaml
       AND other.arm LIKE '%' || substr(one.arm, length(one.best) + 1)
       AND (one.arm <> one.best OR other.arm NOT LIKE one.best || ', %=%')
), spread AS (
    SELECT scale, metric, nfe, samples, protocol, arm, min(created) AS created,
           claim_worse(yaml, substr(arm, 1, length(arm) - length(point))) AS claimed, count(*) AS n, avg(difference) AS mean,
           sqrt(max(0, (avg(difference * difference) - avg(difference) * avg(difference)) * count(*) / (count(*) - 1.0))) AS sd
      FROM pair GROUP BY scale, data_hash, metric, nfe, weights, samples, protocol, features_hash, reference_hash, arm, point
), bounds AS (
    SELECT s.*, CASE WHEN s.n > 10 THEN 2.262 ELSE t END * sd / sqrt(s.n) AS half FROM spread s LEFT JOIN quantile q ON q.n = s.n
)
SELECT metric, nfe AS NFE, arm, n, printf('%+.4g', mean) AS difference,
       CASE WHEN n >= 2 THEN printf('%+.4g to %+.4g', mean - half, mean + half) END AS "95 %",
       CASE WHEN NOT claimed THEN 'no claim' WHEN n < 3 THEN 'undecided (n = ' || n || ')'
            WHEN mean - half > 0 THEN 'agrees' WHEN mean + half < 0 THEN 'disagrees' ELSE 'undecided' END AS verdict,
       samples, protocol, scale
  FROM bounds ORDER BY scale, metric, nfe, samples, created
