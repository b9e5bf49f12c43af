-- title: Proposition 1 in numbers
-- caption: Gradient over the gap, and loss, with and without a lag between student and teacher; sigma in [0.1, 1], theta = 0.3, data at 0.7. Last row: the closed forms for N without end.
WITH grid(N) AS (VALUES (10), (100), (1000), (10000), (100000)),
rows AS (
    SELECT N, printf('%d', N) AS label, toy_gradient(0.1, 1, N, 0.3, 0.3, 0.7) AS none, toy_gradient(0.1, 1, N, 0.3, 0.25, 0.7) AS below,
           toy_gradient(0.1, 1, N, 0.3, 0.35, 0.7) AS above, toy_loss(0.1, 1, N, 0.3, 0.25, 0.7) AS loss FROM grid
    UNION ALL
    SELECT 1e9, 'limit', toy_gradient_limit(0.1, 1, 2, 0.3, 0.3, 0.7), toy_gradient_limit(0.1, 1, 2, 0.3, 0.25, 0.7),
           toy_gradient_limit(0.1, 1, 2, 0.3, 0.35, 0.7), toy_loss_limit(0.1, 1, 2, 0.3, 0.25, 0.7)
)
SELECT label AS N, printf('%.6g', none) AS "gradient, no lag", printf('%.4g', below) AS "gradient, teacher at 0.25",
       printf('%.4g', above) AS "gradient, teacher at 0.35", printf('%.6g', loss) AS "loss, teacher at 0.25"
  FROM rows ORDER BY rows.N
