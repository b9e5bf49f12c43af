-- title: Run :run: rounding beside the student-teacher residual
-- caption: Left: norm of what a precision adds to the residual r = f(student) - f(teacher), as a share of fp32's r: median over the run's next batch, and its upper tenth (thin). Right: cosine of the batch's gradient with fp32's. Same weights, images, noise, pairs of levels and dropout masks in every precision.
WITH this AS (
    SELECT x.*, row_number() OVER (PARTITION BY N, precision ORDER BY step DESC, images DESC, x.created DESC) AS newest
      FROM rounding x WHERE run_id = :run
)
SELECT series, N, median, upper, cosine FROM (
    SELECT DISTINCT 0 AS part, 'note: ' || e.name || iif(r.arm = '', '', ', ' || r.arm) || ', scale ' || r.scale || ', step ' || step || ', data '
           || setting(r.config, 'data.name') || ', ' || images || ' images, trained to N = '
           || coalesce((SELECT cast(value AS INTEGER) FROM metric WHERE run_id = :run AND name = 'N' AND metric.step <= this.step
                        ORDER BY metric.step DESC LIMIT 1), '?') || ', ' || this.device AS series,
           0 AS N, 0 AS median, 0 AS upper, 0 AS cosine
      FROM this JOIN run r ON r.id = run_id JOIN experiment e ON e.id = r.experiment_id WHERE newest = 1
    UNION ALL
    SELECT instr('tf32 bf16 fp16', precision), 'precision: ' || precision, N, median, upper, cosine FROM this
     WHERE newest = 1 AND precision <> 'fp32'
) ORDER BY part, series, N
