-- title: How fast: this program and its peers, one configuration a session
-- caption: Best turn of each program (its best batch, where several were tried). "times": this program's rate in the same precision against the row's. TFLOP/s: a training step counted as four forward passes; of the product: as a share of a product of matrices on the same device in the same process. First step: seconds after the command was given, cold (first start of the session) and warm.
WITH this AS (
    SELECT * FROM bench WHERE $session IS NULL OR session = $session
), wide AS (
    SELECT session, program, precision, batch, max(iif(name = 'training images/s', value, NULL)) AS training,
           max(iif(name = 'sampling images/s', value, NULL)) AS sampling, max(iif(name = 'training FLOP/s', value, NULL)) AS flops,
           max(iif(name = 'product FLOP/s', value, NULL)) AS product, max(iif(name = 'memory B', value, NULL)) AS memory,
           max(iif(name IN ('first step s, first start', 'first step s'), value, NULL)) AS cold,
           max(iif(name = 'first step s, later starts', value, NULL)) AS warm
      FROM bench_value JOIN this USING (session) GROUP BY session, program, precision, batch
), best AS (
    SELECT *, row_number() OVER (PARTITION BY session, program, precision ORDER BY training DESC) AS place,
           max(sampling) OVER (PARTITION BY session, program, precision) AS most_samples,
           max(iif(program = 'ict', training, NULL)) OVER (PARTITION BY session, precision) AS ours,
           max(iif(program = 'ict', sampling, NULL)) OVER (PARTITION BY session, precision) AS our_samples
      FROM wide
)
SELECT b.session, b.experiment, b.device, iif(program = 'ict', 'this program', program) AS program, precision, batch,
       printf('%.1f', training) AS "training images/s", CASE WHEN ours THEN printf('%.2f', ours / training) END AS times,
       CASE WHEN flops THEN printf('%.4g', flops / 1e12) END AS "TFLOP/s",
       CASE WHEN product THEN printf('%.1f %%', 100 * flops / product) END AS "of the product",
       CASE WHEN most_samples THEN printf('%.0f', most_samples) END AS "sampling images/s",
       CASE WHEN our_samples / most_samples THEN printf('%.2f', our_samples / most_samples) END AS "times ",
       CASE WHEN memory THEN printf('%.2f', memory / 1073741824.0) END AS "memory GiB", CASE WHEN cold THEN printf('%.1f', cold) END AS "first step s, cold",
       CASE WHEN warm THEN printf('%.1f', warm) END AS "warm", substr(b.git_commit, 1, 8) AS "commit"
  FROM best JOIN bench b USING (session) WHERE place = 1 AND training ORDER BY b.created, session, program <> 'ict', training DESC
