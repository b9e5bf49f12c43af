-- title: Training of run :run
-- caption: Loss and N at every tick, quality at every evaluation, beside its floor and two trivial generators.
SELECT series, images, value FROM (
    SELECT 1 AS part, 'loss' AS series, images, value FROM metric WHERE run_id = :run AND name = 'loss'
    UNION ALL
    SELECT 2, 'N', images, value FROM metric WHERE run_id = :run AND name = 'N'
    UNION ALL
    SELECT 2 + e.nfe, 'fd-random nfe ' || e.nfe,
           e.step * (SELECT 1.0 * images / step FROM metric WHERE run_id = :run AND step > 0 LIMIT 1), e.value
      FROM evaluation e WHERE e.run_id = :run AND e.metric = 'fd-random'
    UNION ALL
    SELECT 100, e.metric, edge.images, e.value
      FROM evaluation e, (SELECT 0 AS images UNION ALL SELECT max(images) FROM metric WHERE run_id = :run) edge
     WHERE e.run_id = :run AND e.metric LIKE 'fd-random-%'
) ORDER BY part, series, images
