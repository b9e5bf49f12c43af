-- title: Unconditional CIFAR-10 in one or few steps, as published (iCT, table 2)
-- caption: Every published number carries its source in the database; those marked * are from memory and wait for a check against the paper. Ours are in the table `runs`: none of them is an FID on CIFAR-10 yet.
SELECT method, nfe AS NFE,
       max(CASE metric WHEN 'FID' THEN printf('%.2f', value) || CASE WHEN source LIKE '%memory%' THEN '*' ELSE '' END END) AS FID,
       max(CASE metric WHEN 'IS' THEN printf('%.2f', value) || CASE WHEN source LIKE '%memory%' THEN '*' ELSE '' END END) AS "IS"
  FROM published WHERE dataset = 'CIFAR-10' GROUP BY method, nfe ORDER BY min(rowid)
