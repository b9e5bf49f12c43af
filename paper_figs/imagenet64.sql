-- title: Class-conditional ImageNet 64 x 64 in one or few steps, as published (iCT, table 3)
-- caption: Every published number carries its source in the database; those marked * are from memory and wait for a check against the paper.
SELECT method, nfe AS NFE,
       max(CASE metric WHEN 'FID' THEN printf('%.2f', value) || CASE WHEN source LIKE '%memory%' THEN '*' ELSE '' END END) AS FID,
       max(CASE metric WHEN 'precision' THEN printf('%.2f', value) || CASE WHEN source LIKE '%memory%' THEN '*' ELSE '' END END) AS "precision",
       max(CASE metric WHEN 'recall' THEN printf('%.2f', value) || CASE WHEN source LIKE '%memory%' THEN '*' ELSE '' END END) AS recall
  FROM published WHERE dataset = 'ImageNet 64x64' GROUP BY method, nfe ORDER BY min(rowid)
