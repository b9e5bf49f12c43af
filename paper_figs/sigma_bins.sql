-- title: Run :run: loss and residual by noise level
-- caption: Means over each tick of the images whose student noise level lies in one eighth of [ln sigma_min, ln sigma_max].
WITH this AS (
    SELECT r.*, x.name AS experiment, setting(r.config, 'ct.sigma_min') + 0 AS lowest, setting(r.config, 'ct.sigma_max') + 0 AS highest
      FROM run r JOIN experiment x ON x.id = r.experiment_id WHERE r.id = :run
), bin AS (
    SELECT value AS number, printf('%.2g to %.2g', lowest * pow(highest / lowest, value / 8.0),
                                   lowest * pow(highest / lowest, (value + 1) / 8.0)) AS levels
      FROM this, json_each('[0, 1, 2, 3, 4, 5, 6, 7]')
)
SELECT series, images, value FROM (
    SELECT 0 AS part, 'note: ' || experiment || iif(arm = '', '', ', ' || arm) || ', scale ' || scale || ', seed ' || seed || ', data '
           || setting(config, 'data.name') || ', commit ' || substr(git_commit, 1, 8) || ', ' || device AS series, 0 AS images, 0 AS value
      FROM this WHERE EXISTS (SELECT 1 FROM metric WHERE run_id = :run AND name GLOB 'loss_sigma_*') -- a classifier has none
    UNION ALL
    SELECT 1 + number, 'loss ' || levels, images, value FROM metric JOIN bin ON metric.name = 'loss_sigma_' || number WHERE run_id = :run
    UNION ALL
    SELECT 11 + number, 'residual ' || levels, images, value FROM metric JOIN bin ON metric.name = 'residual_sigma_' || number
     WHERE run_id = :run
) ORDER BY part, series, images
