-- title: :experiment: judged by the network that a model was trained against, and by one that it never met
-- caption: Frechet distances on features of the judge J (fd-classifier), of the loss network P (fd-classifier-loss) and of random weights, at the last step; mean and standard deviation over seeds. Relative: to the geometric mean, at the same seed, of the arms that were not trained against P. Flattery: relative by P over relative by J, with its 95 % interval (Student's t on the logarithm, three seeds or more); below 1, P finds more progress than a network that knows nothing of the training. None of these distances is an FID.
-- begins with: by_arm
, last AS (
    SELECT line.*, e.nfe, e.metric, e.samples, e.weights, e.value, e.features_hash, e.reference_hash, setting(config, 'ct.distance') = 'perceptual' AS knows
      FROM line JOIN evaluation e ON e.run_id = line.id AND e.nfe > 0 AND e.metric IN ('fd-classifier', 'fd-classifier-loss', 'fd-random')
     WHERE own_protocol(config, e.protocol) AND e.step = (SELECT max(step) FROM evaluation WHERE run_id = line.id AND nfe > 0)
), wide AS (   -- a row a run and set of networks, which are never mixed
    SELECT one.*, one.value AS j, two.value AS p, three.value AS r, substr(one.features_hash, 1, 8) || ', ' || substr(two.features_hash, 1, 8) AS names,
           one.features_hash || two.features_hash || coalesce(three.features_hash, '') || one.reference_hash AS networks
      FROM last one JOIN last two USING (id, nfe, samples, weights, reference_hash)
      LEFT JOIN last three ON three.id = one.id AND three.nfe = one.nfe AND three.samples = one.samples AND three.weights = one.weights
           AND three.reference_hash = one.reference_hash AND three.metric = 'fd-random'
     WHERE one.metric = 'fd-classifier' AND two.metric = 'fd-classifier-loss' AND one.value > 0 AND two.value > 0
), others AS (
    SELECT scale, data, budget, seed, nfe, samples, weights, networks, avg(ln(j)) AS ln_j, avg(ln(p)) AS ln_p
      FROM wide WHERE NOT knows GROUP BY scale, data, budget, seed, nfe, samples, weights, networks
), relative AS (
    SELECT wide.*, ln(j) - ln_j AS by_j, ln(p) - ln_p AS by_p, ln(p) - ln_p - ln(j) + ln_j AS flattery
      FROM wide LEFT JOIN others USING (scale, data, budget, seed, nfe, samples, weights, networks)
), mean AS (
    SELECT asked_as, scale, data, budget, nfe, samples, weights, names, count(*) AS n, avg(j) AS j, avg(p) AS p, avg(r) AS r,
           sqrt(max(0, avg(j * j) - avg(j) * avg(j)) * count(*) / (count(*) - 1.0)) AS sd_j,
           sqrt(max(0, avg(p * p) - avg(p) * avg(p)) * count(*) / (count(*) - 1.0)) AS sd_p,
           sqrt(max(0, avg(r * r) - avg(r) * avg(r)) * count(*) / (count(*) - 1.0)) AS sd_r,
           avg(by_j) AS by_j, avg(by_p) AS by_p, avg(flattery) AS flattery, count(flattery) AS pairs,
           sqrt(max(0, avg(flattery * flattery) - avg(flattery) * avg(flattery)) * count(flattery) / (count(flattery) - 1.0)) AS sd
      FROM relative GROUP BY asked_as, scale, data, budget, nfe, samples, weights, networks
)
SELECT asked_as AS arm, nfe AS NFE, printf('%.4g', j) || iif(sd_j IS NULL, '', printf(' ± %.2g', sd_j)) AS "by J",
       printf('%.4g', p) || iif(sd_p IS NULL, '', printf(' ± %.2g', sd_p)) AS "by P",
       iif(r IS NULL, NULL, printf('%.4g', r) || iif(sd_r IS NULL, '', printf(' ± %.2g', sd_r))) AS "by random features",
       CASE WHEN pairs THEN printf('%.3f', exp(by_j)) END AS "relative by J", CASE WHEN pairs THEN printf('%.3f', exp(by_p)) END AS "relative by P",
       CASE WHEN pairs THEN printf('%.3f', exp(flattery)) END AS flattery,
       CASE WHEN pairs >= 3 THEN printf('%.3f to %.3f', exp(flattery - t * sd / sqrt(pairs)), exp(flattery + t * sd / sqrt(pairs))) END AS "95 %",
       mean.n || iif(mean.n < runs, ' of ' || runs, '') AS n, samples, weights, names AS "J, P", scale, data, budget AS images
  FROM mean JOIN arm USING (asked_as, scale, data, budget) LEFT JOIN quantile ON quantile.n = min(pairs, 10)
 ORDER BY scale, data, budget, nfe, samples, first, asked_as
