-- title: Run :run: loss and residual by noise level
-- caption: Means over each tick of the images whose student noise level lies in one eighth of [ln sigma_min, ln sigma_max]; a gap where there was none.
WITH this AS (
    SELECT r.*, x.name AS experiment, setting(r.config, 'ct.sigma_min') + 0 AS lowest, setting(r.config, 'ct.sigma_max') + 0 AS highest
      FROM run r JOIN experiment x ON x.id = r.experiment_id WHERE r.id = :run
), bin AS (
    SELECT value AS number, printf('%.2g to %.2g', lowest * pow(highest / lowest, value / 8.0),
                                   lowest * pow(highest / lowest, (value + 1) / 8.0)) AS levels
      FROM this, json_each('[0, 1, 2, 3, 4, 5, 6, 7]')
), tick AS (
    SELECT DISTINCT step, images FROM metric WHERE run_id = :run AND name GLOB 'loss_sigma_*'
), point AS (   -- no value where a tick had no image of that noise: the line has a gap there, not a straight piece
    SELECT number, levels, what, tick.images, m.value
      FROM bin CROSS JOIN (SELECT 'loss' AS what UNION SELECT 'residual') CROSS JOIN tick
      LEFT JOIN metric m ON m.run_id = :run AND m.step = tick.step AND m.name = what || '_sigma_' || number
     WHERE EXISTS (SELECT 1 FROM metric WHERE run_id = :run AND name = what || '_sigma_' || number)
)
SELECT series, images, value FROM (
    SELECT 0 AS part, 'note: ' || experiment || iif(arm = '', '', ', ' || arm) || ', scale ' || scale || ', seed ' || seed || ', data '
           || setting(config, 'data.name') || ', commit ' || substr(git_commit, 1, 8) || ', ' || device AS series, 0 AS images, 0 AS value
      FROM this WHERE EXISTS (SELECT 1 FROM metric WHERE run_id = :run AND name GLOB 'loss_sigma_*') -- a classifier has none
    UNION ALL
    SELECT iif(what = 'loss', 1, 11) + number, what || ' ' || levels, images, value FROM point
) ORDER BY part, series, images
