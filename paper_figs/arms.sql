-- title: :experiment: quality by arm
-- caption: Frechet distance on random features of one-step samples over images seen, mean over seeds.
SELECT p.arm || ' (' || r.scale || ')' AS series,
       e.step * (SELECT 1.0 * m.images / m.step FROM metric m WHERE m.run_id = r.id AND m.step > 0 LIMIT 1) AS images,
       avg(e.value) AS mean, min(e.value) AS low, max(e.value) AS high
  FROM experiment x JOIN plan p ON p.experiment_id = x.id JOIN run r ON r.id = p.run_id
  JOIN evaluation e ON e.run_id = r.id
 WHERE x.name = :experiment AND r.state = 'done' AND e.metric = 'fd-random' AND e.nfe = 1
 GROUP BY series, e.step ORDER BY min(p.created), series, e.step
