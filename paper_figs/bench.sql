-- title: Session :session: images per second, and where a step's time goes
-- caption: Above: whole training steps, and one-step sampling, of this program and its peers at their best batch, in the same session (best turn of each). Below: time of every kind of op in one forward and one backward pass, each op waited for, so that the sum exceeds that of a step.
WITH this AS (
    SELECT * FROM bench WHERE session = :session
), wide AS (
    SELECT program, precision, batch, max(iif(name = 'training images/s', value, NULL)) AS training,
           max(iif(name = 'sampling images/s', value, NULL)) AS sampling
      FROM bench_value WHERE session = :session GROUP BY program, precision, batch
), best AS (
    SELECT program, precision, training, max(sampling) OVER (PARTITION BY program, precision) AS sampling, batch,
           row_number() OVER (PARTITION BY program, precision ORDER BY training DESC) AS place
      FROM wide
), program AS (   -- how many times this program's rate, in the same precision, is theirs; 0: of none
    SELECT *, coalesce(max(iif(program = 'ict', training, NULL)) OVER (PARTITION BY precision) / iif(program = 'ict', NULL, training), 0) AS times,
           coalesce(max(iif(program = 'ict', sampling, NULL)) OVER (PARTITION BY precision) / iif(program = 'ict', NULL, sampling), 0) AS sample_times
      FROM best WHERE place = 1
), op AS (
    SELECT op, precision, images, sum(iif(pass = 'forward', seconds, 0)) AS forward, sum(iif(pass = 'backward', seconds, 0)) AS backward
      FROM bench_op WHERE session = :session GROUP BY op, precision, images
)
SELECT series, training, sampling, times, sample_times FROM (
    SELECT 0 AS part, 'note: ' || experiment || ', data ' || setting(config, 'data.name') || ', ' || device || ', commit '
           || substr(git_commit, 1, 8) AS series, 0 AS training, 0 AS sampling, 0 AS times, 0 AS sample_times,
           0 AS rank FROM this
    UNION ALL
    SELECT 1, 'program: ' || iif(program = 'ict', 'this program', program) || ', ' || precision || ', batch ' || batch, training, sampling,
           times, sample_times, -training FROM program
    UNION ALL
    SELECT 2, 'op: ' || op, 1e6 * forward / images, 1e6 * backward / images, 0, 0, -forward - backward FROM op
     WHERE (precision, images) = (SELECT precision, images FROM op ORDER BY forward + backward DESC LIMIT 1)
) ORDER BY part, rank, series
