-- title: What low precision does to trained networks, at the most noise levels measured
-- caption: ||r - r32|| / ||r32|| of the residual r = f(student) - f(teacher), median and upper tenth over the images of one batch; cosine of the batch's gradient with fp32's; rate of both passes and the backward one. Recommended for a card: the fastest precision whose median is at most 0.15 at N = 1281; of two within 5 %, the one nearer to fp32.
WITH newest AS (
    SELECT x.*, row_number() OVER (PARTITION BY run_id, precision ORDER BY N DESC, step DESC, images DESC, created DESC) AS place FROM rounding x
)
SELECT run_id AS run, e.name AS experiment, r.scale, setting(r.config, 'data.name') AS data, step, N, precision, printf('%.3g', median) AS median,
       printf('%.3g', upper) AS "90 %", iif(cosine IS NULL, NULL, printf('%.6f', cosine)) AS cosine, printf('%.0f', rate) AS "images/s", images, n.device,
       iif(median <= 0.15, 'within', 'beyond') AS "the bound"
  FROM newest n JOIN run r ON r.id = run_id JOIN experiment e ON e.id = r.experiment_id
 WHERE place = 1 AND precision <> 'fp32' ORDER BY r.created, run_id, instr('tf32 bf16 fp16', precision)
