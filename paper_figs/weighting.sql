-- title: Weight of a pair of levels, and where the weight lies
-- caption: Above: lambda = 1/(sigma_i+1 - sigma_i) of iCT for several N. Below: how the expected weight is spread over ln(sigma), with iCT's lognormal law.
WITH RECURSIVE pair(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM pair WHERE i < 1279),
stage(N) AS (VALUES (11), (41), (161), (1281)),
each AS (SELECT N, i, sqrt(ct_sigma('', i, N) * ct_sigma('', i + 1, N)) AS sigma, ct_weight('', i, N) AS lambda, ct_probability('', i, N) AS p,
                ln(ct_sigma('', i + 1, N)) - ln(ct_sigma('', i, N)) AS width
           FROM stage JOIN pair ON i < N - 1)
SELECT 'N = ' || N AS series, sigma, lambda, p * lambda / (sum(p * lambda) OVER (PARTITION BY N)) / width AS density
  FROM each ORDER BY N, i
