-- title: Session :session: time of every kind of op
-- caption: One forward and one backward pass, each op waited for (mean of five), so that small ops seem slower than they are in a row. Bytes: every input read once, every output written once.
SELECT op, pass, precision, images, calls, printf('%.3f', 1e3 * seconds) AS ms,
       printf('%.1f %%', 100 * seconds / sum(seconds) OVER (PARTITION BY precision, images)) AS share, printf('%.1f', bytes / 1e6) AS MB,
       printf('%.0f', bytes / seconds / 1e9) AS "GB/s", CASE WHEN flops THEN printf('%.2f', flops / seconds / 1e12) END AS "TFLOP/s"
  FROM bench_op WHERE session = :session ORDER BY precision, images, seconds DESC
