-- title: Class-conditional ImageNet 64 x 64 in one or few steps (iCT, table 3): published numbers, and ours below them
-- caption: Published numbers name their source; those marked * are from memory and wait for a check against the paper. Ours: means over n seeds, last checkpoint, on ImageNet 64 x 64 or parts of it. FID, precision and recall are filled in only where they were computed on ImageNet 64 x 64 itself; any other distance stands in a column of its own, in brackets that of real images from real images, and compares with no FID.
-- begins with: beside
SELECT method, NFE, FID, "precision", recall, "other distance", source, scale, data, images, samples, n, "commit" FROM (
    SELECT 0 AS part, min(place) AS place, method, nfe AS NFE, max(CASE metric WHEN 'FID' THEN value END) AS FID,
           max(CASE metric WHEN 'precision' THEN value END) AS "precision", max(CASE metric WHEN 'recall' THEN value END) AS recall,
           NULL AS "other distance", min(source) AS source,
           NULL AS scale, NULL AS data, NULL AS images, NULL AS samples, NULL AS n, NULL AS "commit"
      FROM theirs WHERE dataset = 'ImageNet 64x64' GROUP BY method, nfe
    UNION ALL
    SELECT 1, nfe, method, nfe, group_concat(CASE WHEN metric = 'fid' AND data = 'imagenet64' THEN printf('%.2f', value) END, ', '),
           group_concat(CASE WHEN metric = 'precision' AND data = 'imagenet64' THEN printf('%.2f', value) END, ', '),
           group_concat(CASE WHEN metric = 'recall' AND data = 'imagenet64' THEN printf('%.2f', value) END, ', '),
           group_concat(CASE WHEN metric LIKE 'fd-%' OR metric = 'fid' AND data <> 'imagenet64'
                             THEN metric || printf(' %.3g', value) || iif(floor, printf(' (%.2g)', floor), '') END, ', '),
           'this database', scale, data, budget, samples, max(n), substr(git_commit, 1, 8)
      FROM ours WHERE data LIKE 'imagenet64%' GROUP BY method, scale, data, budget, git_commit, nfe, samples, reference_hash
) ORDER BY part, iif(part, method, ''), scale, data, images, place
