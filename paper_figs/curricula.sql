-- title: Number of noise levels over training
-- caption: The six curricula between the same end points, s0 = 10 and s1 = 1280 intervals, over 400,000 steps (iCT, figure 3b). Square root and exponential are the papers'; the formulas of the other four are this project's.
WITH RECURSIVE part(u) AS (SELECT 0 UNION ALL SELECT u + 1 FROM part WHERE u < 400),
shape(place, name, key) AS (VALUES (1, 'constant', 'constant'), (2, 'square root (CT)', 'square_root'), (3, 'linear', 'linear'),
                            (4, 'square', 'square'), (5, 'cosine', 'cosine'), (6, 'exponential (iCT)', 'exponential'))
SELECT name AS series, u / 400.0 AS share, ct_levels('s0=10 s1=1280 curriculum=' || key, u * 1000, 400000) AS N
  FROM shape, part ORDER BY place, u
