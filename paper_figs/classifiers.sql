-- title: Judges and loss networks
-- caption: Accuracy and cross-entropy of finished classifiers on the images of their set that are held out from both roles, at the last step. Nothing of it says how well the network's distances judge: that is a question to eval --perturb.
SELECT r.id AS run, x.name AS experiment, setting(r.config, 'classifier.role') AS role, setting(r.config, 'data.name') AS data, r.scale, r.seed,
       setting(r.config, 'precision') AS precision, a.step, setting(r.config, 'train.batch') AS batch,
       printf('%.4f', a.value) AS accuracy, printf('%.4g', l.value) AS "cross-entropy", a.samples, a.protocol, substr(r.git_commit, 1, 8) AS "commit", r.device
  FROM run r JOIN experiment x ON x.id = r.experiment_id
  JOIN evaluation a ON a.run_id = r.id AND a.metric = 'held-out-accuracy'
  JOIN evaluation l ON l.run_id = r.id AND l.metric = 'held-out-loss' AND l.step = a.step
 WHERE r.state = 'done' AND a.step = (SELECT max(step) FROM evaluation WHERE run_id = r.id) ORDER BY data, role, r.created
