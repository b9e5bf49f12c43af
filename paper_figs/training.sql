-- title: Training of run :run
-- caption: Means over each tick; quality at every evaluation beside its floor (real images against real ones) and two trivial generators; of a classifier, accuracy on images of the set that it is not trained on.
WITH this AS (
    SELECT r.*, x.name AS experiment, 1.0 * setting(r.config, 'train.batch') AS batch,
           setting(r.config, 'evaluation.weights') AS weights, setting(r.config, 'evaluation.samples') + 0 AS samples
      FROM run r JOIN experiment x ON x.id = r.experiment_id WHERE r.id = :run
), last AS (
    SELECT max(images) AS images FROM metric WHERE run_id = :run
), judge AS (   -- FID where there is one, else the first of the other Frechet distances; by the network and from the images that most evaluations have
    SELECT e.metric, e.features_hash, e.reference_hash FROM evaluation e JOIN this USING (weights, samples)
     WHERE e.run_id = :run AND own_protocol(config, e.protocol) AND e.nfe > 0 AND (e.metric = 'fid' OR e.metric LIKE 'fd-%') AND e.metric NOT LIKE '%-deviation'
     GROUP BY e.metric, e.features_hash, e.reference_hash ORDER BY e.metric <> 'fid', e.metric, count(*) DESC, max(e.created) DESC LIMIT 1
)
SELECT series, images, value FROM (
    SELECT 0 AS part, 'note: ' || experiment || iif(arm = '', '', ', ' || arm) || ', scale ' || scale || ', seed ' || seed || ', data '
           || setting(config, 'data.name') || ', commit ' || substr(git_commit, 1, 8) || ', ' || device AS series, 0 AS images, 0 AS value
      FROM this
    UNION ALL
    SELECT 1, name, images, value FROM metric
     WHERE run_id = :run AND name IN ('loss', 'gradient_norm', 'N', 'accuracy', 'learning_rate', 'images_per_second')
    UNION ALL
    SELECT 1, 'held out', e.step * batch, e.value FROM evaluation e, this WHERE e.run_id = :run AND e.metric = 'held-out-accuracy'
    UNION ALL   -- runs of before the rate was recorded: it was constant
    SELECT 1, 'learning_rate', edge.images, setting(config, 'train.lr') + 0
      FROM this, (SELECT 0 AS images UNION ALL SELECT images FROM last) edge
     WHERE NOT EXISTS (SELECT 1 FROM metric WHERE run_id = :run AND name = 'learning_rate')
    UNION ALL
    SELECT 1 + nfe, 'quality ' || metric || ', ' || nfe || iif(nfe = 1, ' step', ' steps'), step * batch, value
      FROM (SELECT *, row_number() OVER (PARTITION BY nfe, step ORDER BY e.created DESC) AS newest
              FROM evaluation e JOIN judge USING (metric, features_hash, reference_hash) JOIN this USING (weights, samples)
             WHERE e.run_id = :run AND own_protocol(config, e.protocol) AND e.nfe > 0) WHERE newest = 1
    UNION ALL
    SELECT 100, CASE e.metric WHEN judge.metric || '-pixels' THEN 'reference independent pixels'
                              WHEN judge.metric || '-mean-noise' THEN 'reference mean image + noise'
                              ELSE 'reference real against real' END, edge.images, e.value
      FROM evaluation e JOIN judge USING (features_hash, reference_hash), (SELECT 0 AS images UNION ALL SELECT images FROM last) edge
     WHERE e.run_id = :run AND e.weights = 'reference'
       AND e.metric IN (judge.metric || '-pixels', judge.metric || '-mean-noise', judge.metric || '-floor')
       AND e.samples = (SELECT max(samples) FROM evaluation WHERE run_id = :run AND metric = e.metric AND samples <= (SELECT samples FROM this))
) WHERE EXISTS (SELECT 1 FROM metric WHERE run_id = :run)   -- a run that has not begun has nothing to show
 ORDER BY part, series, images
