#!/bin/bash
# shellcheck disable=SC1091
# Judge and loss network from the command line: trained as any run is, found under weights/, never replaced by another run's.
source "$(dirname "$0")/helpers.bash"
export ICT_WEIGHTS=$FOLDER/weights
YAML=experiments/classifier_shapes.yaml
SMALL=("$YAML" --threads 1 data.count=2000 "classifier.widths=[16,32,48]" classifier.noise=0.1 train.batch=32 train.tick=40
    train.checkpoint=50 "evaluation.at=[0.5,1]")
accuracy() { sql "SELECT min(value > 0.8) FROM evaluation WHERE metric = 'held-out-accuracy' AND step = 160"; }

run "${SMALL[@]}" train.steps=160
check "both are trained" status_is 0
check "and know what they have not seen" same "$(accuracy)" 1
check "with the images that were held out" same "$(sql "SELECT DISTINCT protocol FROM evaluation")" "images 1800-1999"
check "and rows of metrics" same "$(sql "SELECT count(*) FROM metric WHERE name = 'accuracy'")" 8
check "but no noise levels" same "$(sql "SELECT count(*) FROM metric WHERE name IN ('N', 'residual')")" 0
check "the judge's description says its images" grep -qx "trained_on: 1000-1799" "$ICT_WEIGHTS/classifier-judge-shapes-16-2000/weights.yaml"
check "the loss network's others" grep -qx "trained_on: 0-999" "$ICT_WEIGHTS/classifier-loss-shapes-16-2000/weights.yaml"
run weights ls
check "both are listed" says "classifier-judge-shapes-16-2000"
run ls
check "ls shows the accuracy" says "held-out-accuracy"
judge=$(sql "SELECT id FROM run WHERE arm = 'judge'")
run sample "$judge"
check "a classifier draws nothing" status_is 2
check "and says so" says "trained a classifier"
run table classifiers
check "a table has both" same "$(grep -c "images 1800-1999" "$FOLDER/out")" 2
if command -v gnuplot >/dev/null; then
    run figure training "$judge" --format svg --out "$FOLDER/training"
    check "its curves are drawn" status_is 0
fi

before=$(sha256sum <"$ICT_WEIGHTS/classifier-judge-shapes-16-2000/weights.safetensors")
run "${SMALL[@]}" seed=1 train.steps=10
check "another run" status_is 0
check "leaves the weights as they are" same "$(sha256sum <"$ICT_WEIGHTS/classifier-judge-shapes-16-2000/weights.safetensors")" "$before"
check "and says whose they are" log_says "is of run $judge and stays"
run "${SMALL[@]}" train.steps=160 --force
check "the same run from the beginning puts its own in their place" \
    same "$(sha256sum <"$ICT_WEIGHTS/classifier-judge-shapes-16-2000/weights.safetensors")" "$before"

run experiments/quickstart.yaml --scale smoke --threads 1 data.count=2000 ct.distance=perceptual ct.perceptual=classifier \
    "evaluation.metrics=[fd-classifier]" evaluation.samples=256 "evaluation.at=[1]"
check "a model is trained with one and judged by the other" status_is 0
check "which is stored with the number" same "$(sql "SELECT count(*) FROM evaluation WHERE metric = 'fd-classifier' AND nfe = 1")" 1

run "$YAML" "classifier.widths=[130,128]" precision=fp16 --dry-run
check "what does not fit starts nothing" status_is 2
check "and all of it is named" says "130 channels do not fall into equal groups"
check "at once" says "classifiers are trained in fp32, tf32 or bf16"
run "$YAML" "classifier.widths=[8,8,8,8,8,8]" --dry-run
check "nor do more stages than there may be" status_is 2
run "$YAML" data.resolution=12 "classifier.widths=[8,8,8,8]" --dry-run
check "nor more than the images have" says "12 pixels cannot be halved 3 times"
finish
