-- title: :experiment: samples from the same seeds
-- caption: Column by column the same noise, drawn through each arm's last checkpoint (the arm's first seed), in one step and in two; below, real images. Needs the runs' own pictures, which stay on the machine that made them. Arms without one are named.
-- begins with: by_arm
, picture AS (   -- of each arm the first seed's newest one; `grid` images as a square, block by block (base/picture.c)
    SELECT series, first, min(seed), artifact_file(a.path) AS file, setting(config, 'evaluation.grid') + 0 AS grid,
           1 + length(setting(config, 'evaluation.nfe')) - length(replace(setting(config, 'evaluation.nfe'), ',', '')) AS nfes
      FROM line JOIN artifact a ON a.run_id = line.id
     WHERE a.kind = 'samples' AND artifact_file(a.path) IS NOT NULL
       AND a.step = (SELECT max(step) FROM artifact WHERE run_id = line.id AND kind = 'samples')
     GROUP BY series
), shape AS (
    SELECT *, CAST(ceil(sqrt(grid)) AS INTEGER) AS columns, png_width(file) AS width FROM picture WHERE grid > 0
)
SELECT series, columns, cell, rows, nfes FROM (
    SELECT 0 AS part, series, 0 AS columns, 0 AS cell, 0 AS rows, 0 AS nfes FROM note WHERE EXISTS (SELECT 1 FROM shape)
    UNION ALL
    SELECT 1 + first, 'picture: ' || file, columns, (width + 1) / ((nfes + 1) * (columns + 1) - 1) - 1, CAST(ceil(grid / columns) AS INTEGER), nfes
      FROM shape
    UNION ALL
    SELECT 1e11 + first, 'arm: ' || series, 0, 0, 0, 0 FROM shape
    UNION ALL
    SELECT 2e11 + first, 'lack: ' || series || iif(done, ': no picture here', lack), 0, 0, 0, 0 FROM arm
     WHERE series NOT IN (SELECT series FROM shape) AND EXISTS (SELECT 1 FROM shape)
) ORDER BY part, series
