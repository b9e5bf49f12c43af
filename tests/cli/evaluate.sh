#!/bin/bash
# shellcheck disable=SC1091
# Numbers about files: a run's samples judged once more, with repeats; its pictures, features and statistics as other tools
# have them; and everything that must be refused.
source "$(dirname "$0")/helpers.bash"

SMALL=(experiments/quickstart.yaml --scale smoke --threads 1 evaluation.samples=512 evaluation.grid=0 evaluation.nfe=[1]
    train.steps=4 evaluation.at=[1] data.count=1100 data.resolution=16)

run "${SMALL[@]}" "evaluation.metrics=[fd-random, kd-random, precision-random]"
check "a run with three metrics on one space" status_is 0
id=$(sql "SELECT id FROM run")
check "each is stored with its protocol" same "$(sql "SELECT metric || ': ' || protocol FROM evaluation WHERE nfe = 1 ORDER BY metric")" \
    "fd-random: round
kd-random: round; 100 subsets of 256
kd-random-deviation: round; 100 subsets of 256
\"precision-random: round; k 3, 1100 real\""
check "and its floor" same "$(sql "SELECT count(*) FROM evaluation WHERE nfe = 0 AND metric IN ('fd-random-floor', 'kd-random-floor', 'precision-random-real')")" 3
check "the reference's moments are kept" same "$(find "$FOLDER/cache" -name 'moments-random-*.npz' | wc -l)" 1

run "${SMALL[@]/at=\[1\]/at=[0.5,1]}" seed=2 evaluation.samples_last=530
check "the last evaluation may have more samples" status_is 0
check "and is judged by as many as the others, too" same "$(sql "SELECT DISTINCT step || ' ' || samples FROM evaluation JOIN run ON id = run_id
    WHERE seed = 2 AND nfe = 1 ORDER BY step, samples")" "2 512
4 512
4 530"
check "beside the floor of each count" same "$(sql "SELECT DISTINCT samples FROM evaluation JOIN run ON id = run_id WHERE seed = 2 AND metric = 'fd-random-floor' ORDER BY 1")" "512
530"

run eval "$id" --threads 1 --metrics fd-random --repeats 2 --write-stats "$FOLDER/own.npz"
check "repeats take other seeds" says "seeds 512-1023"
check "their mean is stored" same "$(sql "SELECT protocol FROM evaluation WHERE metric = 'fd-random-repeat-deviation'")" "round; mean of 2 repeats"
run eval "$id" --threads 1 --metrics fid
check "an official name without the official weights says what to fetch" says "pt_inception-2015-12-05-6726825d.pth"
check "and ends with 2" status_is 2
run "${SMALL[@]}" seed=1 "evaluation.metrics=[fid]"
check "a run is refused for it in its first second" says "fid: "
run eval "$id" --threads 1 --metrics fd-random --samples 511
check "too few samples are refused" says "511 images are too few for a Frechet distance over 128 features: at least 512"

run sample "$id" --threads 1 --seeds 0-511 --out "$FOLDER/pictures"
run eval --threads 1 --images "$FOLDER/pictures" --reference shapes --format csv
check "a folder of pictures against a data set" status_is 0
check "with the floor beside it" says "pictures,fd-random,"
run eval --threads 1 --images "$FOLDER/pictures" --reference "$FOLDER/own.npz"
check "the same pictures against their own statistics are at no distance" same "$(awk -F'|' '/fd-random/ { print ($4 < 1e-6) }' "$FOLDER/out")" 1
run eval --threads 1 --images "$FOLDER/pictures" --reference "$FOLDER/own.npz" --metrics kd-random
check "statistics do not serve other metrics" says "statistics hold no images, which kd-random needs"
run eval --threads 1 --reference shapes --write-stats "$FOLDER/shapes.npz"
check "statistics of a data set" test -s "$FOLDER/shapes.npz"
run eval --threads 1 --images "$FOLDER/pictures" --reference "$FOLDER/shapes.npz"
check "shapes are 32 x 32 unless the images say otherwise, and statistics of the other network are refused" says "statistics of the feature network"
run sample "$id" --threads 1 --seeds 0-511 --out "$FOLDER/samples.npz"
run eval --threads 1 --images "$FOLDER/samples.npz" --reference "$FOLDER/own.npz"
check "an npz of the same seeds is the same images" same "$(awk -F'|' '/fd-random/ { print ($4 < 1e-6) }' "$FOLDER/out")" 1
run sample "$id" --threads 1 --seeds 0-9 --latents "$FOLDER/samples.npz"
check "images are no noise" says "noise is an array"
echo broken >"$FOLDER/pictures/seed-000007.png"
run eval --threads 1 --images "$FOLDER/pictures" --reference shapes
check "a broken picture is named" says "1 of 512 pictures cannot be read, the first: seed-000007.png"
run eval --threads 1 --images "$FOLDER/pictures" --reference shapes --skip-bad
check "and when it is left out the least is too" says "511 images are too few"
run eval --images "$FOLDER/nothing" --reference shapes
check "a path that is not there" says "there is no such file or folder"
run eval --images "$FOLDER/pictures"
check "images need a reference" says "--images needs --reference"
run eval --features "$FOLDER/own.npz"
check "features come in pairs" says "--features takes two files"
run eval --features "$FOLDER/own.npz" tests/golden/metrics.npz
check "statistics are no features" says "holds statistics (mu, sigma), not features"
finish
