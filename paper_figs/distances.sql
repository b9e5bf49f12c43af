-- title: Distances between student and teacher, in one dimension
-- caption: Squared l2, l1 and pseudo-Huber sqrt(r^2 + c^2) - c (iCT, figure 6a), and their slopes: what one outlier may say in a gradient.
WITH RECURSIVE place(j) AS (SELECT -150 UNION ALL SELECT j + 1 FROM place WHERE j < 150),
point AS (SELECT j / 100.0 AS r FROM place),
curve(place, name, c) AS (VALUES (3, 'Huber, c = 0.03', 0.03), (4, 'Huber, c = 0.3', 0.3), (5, 'Huber, c = 1', 1.0))
SELECT series, r, d, slope FROM (
    SELECT 1 AS place, 'squared l2' AS series, r, r * r AS d, 2 * r AS slope FROM point
    UNION ALL SELECT 2, 'l1', r, abs(r), sign(r) FROM point
    UNION ALL SELECT place, name, r, sqrt(r * r + c * c) - c, r / sqrt(r * r + c * c) FROM curve, point
) ORDER BY place, r
