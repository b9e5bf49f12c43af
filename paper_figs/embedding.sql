-- title: What the network sees of the step from one noise level to the next
-- caption: Root-mean-square distance of the embeddings of neighbouring levels, relative to that of unrelated ones (1: nothing in common), at N = 1281 (iCT, figure 1a). Fourier: expectation over the frozen frequencies, normal with the scale as deviation; positional: ADM's 96 frequencies. c_noise = ln(sigma)/4.
WITH RECURSIVE pair(i) AS (SELECT 0 UNION ALL SELECT i + 8 FROM pair WHERE i < 1272),
band(j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM band WHERE j < 95),
level AS (SELECT sqrt(ct_sigma('', i, 1281) * ct_sigma('', i + 1, 1281)) AS sigma,
                 (ln(ct_sigma('', i + 1, 1281)) - ln(ct_sigma('', i, 1281))) / 4 AS step FROM pair),
kind(place, name, scale) AS (VALUES (1, 'Fourier 16 (CT)', 16.0), (2, 'Fourier 0.02 (iCT)', 0.02))
SELECT series, sigma, distance FROM (
    SELECT place, name AS series, sigma, sqrt(1 - exp(-pow(2 * pi() * scale * step, 2) / 2)) AS distance FROM kind, level
    UNION ALL
    SELECT 3, 'positional', sigma, sqrt(avg(1 - cos(pow(10000, -j / 96.0) * step))) FROM level, band GROUP BY sigma
) ORDER BY place, sigma
