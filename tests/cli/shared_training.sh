#!/bin/bash
# shellcheck disable=SC1091
# Runs that differ in evaluation only are trained once; runs that differ in more are not.
source "$(dirname "$0")/helpers.bash"
command=("${TINY[@]}" train.steps=10 evaluation.at=[1])

run "${command[@]}" evaluation.sigma_mid=0.4,0.8,1.6
check "three evaluations end with 0" status_is 0
check "two of them say whose training they share" same "$(grep -c "training shared with run" "$FOLDER/out")" 2
check "the first one trained" says "step 5/10"
check "they have the same curves" same "$(sql "SELECT count(*) FROM (SELECT DISTINCT step, name, value FROM metric
    WHERE name <> 'images_per_second')")" "$(sql "SELECT count(*) / 3 FROM metric WHERE name <> 'images_per_second'")"
check "and the same weights" same "$(sha256sum "$FOLDER"/runs/*/checkpoint-10.safetensors | cut -d' ' -f1 | sort -u | wc -l)" 1
check "each has its own picture" same "$(sha256sum "$FOLDER"/runs/*/samples-10.png | cut -d' ' -f1 | sort -u | wc -l)" 3

run "${command[@]}" seed=1
check "another seed trains for itself" says_not "training shared"

run "${command[@]}" evaluation.at=[0.5,1]
check "so does a run that evaluates on the way" says_not "training shared"
finish
