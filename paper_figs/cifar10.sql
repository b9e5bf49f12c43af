-- title: Unconditional CIFAR-10 in one or few steps (iCT, table 2): published numbers, and ours below them
-- caption: Published numbers name their source; those marked * are from memory and wait for a check against the paper. Ours: means over n seeds, last checkpoint, on CIFAR-10 or copies of it. FID and IS are filled in only where they were computed on CIFAR-10 itself; any other distance stands in a column of its own, in brackets that of real images from real images, and compares with no FID.
-- begins with: beside
SELECT method, NFE, FID, "IS", "other distance", source, scale, data, images, samples, n, "commit" FROM (
    SELECT 0 AS part, min(place) AS place, method, nfe AS NFE, max(CASE metric WHEN 'FID' THEN value END) AS FID,
           max(CASE metric WHEN 'IS' THEN value END) AS "IS", NULL AS "other distance", min(source) AS source,
           NULL AS scale, NULL AS data, NULL AS images, NULL AS samples, NULL AS n, NULL AS "commit"
      FROM theirs WHERE dataset = 'CIFAR-10' GROUP BY method, nfe
    UNION ALL
    SELECT 1, nfe, method, nfe, group_concat(CASE WHEN metric = 'fid' AND data = 'cifar10' THEN printf('%.2f', value) END, ', '),
           group_concat(CASE WHEN metric = 'is' AND data = 'cifar10' THEN printf('%.2f', value) END, ', '),
           group_concat(CASE WHEN metric LIKE 'fd-%' OR metric = 'fid' AND data <> 'cifar10'
                             THEN metric || printf(' %.3g', value) || iif(floor, printf(' (%.2g)', floor), '') END, ', '),
           'this database', scale, data, budget, samples, max(n), substr(git_commit, 1, 8)
      FROM ours WHERE data LIKE 'cifar10%' GROUP BY method, scale, data, budget, git_commit, nfe, samples, reference_hash
) ORDER BY part, iif(part, method, ''), scale, data, images, place
