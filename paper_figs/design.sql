-- title: Design choices of consistency training and its improvement (iCT, table 1)
-- caption: From the resolved configurations of experiments/cifar10_ct.yaml, cifar10_main.yaml and imagenet64_main.yaml, as they would run at scale paper. c = 0 stands for 0.00054 sqrt(d), a teacher EMA of 0 for none, resolution 0 for all; a choice is left empty where another makes it idle.
WITH choice(place, part, name, key, needs, what) AS (VALUES
    (1, 'network', 'architecture', 'model.architecture', NULL, NULL), (2, 'network', 'noise embedding', 'model.embedding', NULL, NULL),
    (3, 'network', 'Fourier scale', 'model.fourier_scale', 'model.embedding', 'fourier'), (4, 'network', 'dropout', 'model.dropout', NULL, NULL),
    (5, 'network', 'dropout up to resolution', 'model.dropout_max_resolution', NULL, NULL),
    (6, 'teacher', 'EMA', 'ct.teacher_ema', NULL, NULL), (7, 'teacher', 'its schedule', 'ct.teacher_schedule', NULL, NULL),
    (8, 'objective', 'distance', 'ct.distance', NULL, NULL), (9, 'objective', 'c', 'ct.huber_c', 'ct.distance', 'pseudo_huber'),
    (9.5, 'objective', 'network of the distance', 'ct.perceptual', 'ct.distance', 'perceptual'),
    (10, 'objective', 'weighting', 'ct.weighting', NULL, NULL),
    (11, 'noise levels', 'curriculum', 'ct.curriculum', NULL, NULL), (12, 'noise levels', 's0', 'ct.s0', NULL, NULL), (13, 'noise levels', 's1', 'ct.s1', NULL, NULL),
    (14, 'noise levels', 'law', 'ct.noise', NULL, NULL), (15, 'noise levels', 'mean of ln(sigma)', 'ct.p_mean', 'ct.noise', 'lognormal'),
    (16, 'noise levels', 'deviation of ln(sigma)', 'ct.p_std', 'ct.noise', 'lognormal'),
    (17, 'training', 'optimiser', 'train.optimizer', NULL, NULL), (18, 'training', 'rate', 'train.lr', NULL, NULL), (19, 'training', 'batch', 'train.batch', NULL, NULL),
    (20, 'training', 'steps', 'train.steps', NULL, NULL), (21, 'sampling', 'weights', 'evaluation.weights', NULL, NULL),
    (22, 'sampling', 'sigma of the second step', 'evaluation.sigma_mid', NULL, NULL))
SELECT part, name AS choice,
       CASE WHEN needs IS NULL OR experiment_setting('cifar10_ct', needs) = what THEN experiment_setting('cifar10_ct', key) END AS "CT, CIFAR-10",
       CASE WHEN needs IS NULL OR experiment_setting('cifar10_main', needs) = what THEN experiment_setting('cifar10_main', key) END AS "iCT, CIFAR-10",
       CASE WHEN needs IS NULL OR experiment_setting('imagenet64_main', needs) = what THEN experiment_setting('imagenet64_main', key) END
            AS "iCT, ImageNet 64 x 64"
  FROM choice ORDER BY place
