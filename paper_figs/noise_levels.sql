-- title: Density of the noise level in training
-- caption: Density of ln(sigma) at N = 1281: every index alike (original CT) and the lognormal law with mean -1.1 and deviation 2.0 (iCT, figure 4a).
WITH RECURSIVE pair(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM pair WHERE i < 1279),
law(place, name, key) AS (VALUES (1, 'uniform (CT)', 'noise=uniform'), (2, 'lognormal (iCT)', 'noise=lognormal'))
SELECT name AS series, sqrt(ct_sigma(key, i, 1281) * ct_sigma(key, i + 1, 1281)) AS sigma,
       ct_probability(key, i, 1281) / (ln(ct_sigma(key, i + 1, 1281)) - ln(ct_sigma(key, i, 1281))) AS density
  FROM law, pair ORDER BY place, i
