-- title: Proposition 1: why the teacher must not be an average
-- caption: One-dimensional data at xi = 0.7, theta = 0.3, sigma in [0.1, 1], uniform grid; everything exact (iCT, section 3.2). Above: gradient over the gap: finite only without a lag between student and teacher. Middle: the loss tends to a value in which the data do not occur. Below: theta after 400 steps of descent from 0, by the teacher's rate mu; N ends where steps of 0.002 begin to diverge with a lagging teacher.
WITH RECURSIVE power(e) AS (SELECT 2 UNION ALL SELECT e + 1 FROM power WHERE e < 32),
grid AS (SELECT CAST(round(pow(10, e / 8.0)) AS INTEGER) + 1 AS N FROM power),
lag(place, name, teacher) AS (VALUES (1, 'no lag', 0.3), (2, 'teacher below', 0.25), (3, 'teacher above', 0.35)),
rate(place, mu) AS (VALUES (7, 0.0), (8, 0.9), (9, 0.99), (10, 0.999)),
stage(N) AS (VALUES (11), (21), (41), (81), (161), (321), (641))
SELECT series, N, value, "limit" FROM (
    SELECT place, 'gradient, ' || name AS series, N, toy_gradient(0.1, 1, N, 0.3, teacher, 0.7) AS value,
           CASE WHEN teacher = 0.3 THEN toy_gradient_limit(0.1, 1, N, 0.3, teacher, 0.7) END AS "limit" FROM lag, grid
    UNION ALL
    SELECT 3 + place, 'loss, ' || name, N, toy_loss(0.1, 1, N, 0.3, teacher, 0.7), toy_loss_limit(0.1, 1, N, 0.3, teacher, 0.7) FROM lag, grid
    UNION ALL
    SELECT place, 'descent, mu = ' || mu, N, toy_descent(0.1, 1, N, 0.7, mu, 0.002, 400), 0.7 FROM rate, stage
) ORDER BY place, N
