#!/bin/bash
# shellcheck disable=SC1091,SC2034,SC2153
# On a card: two runs from nothing, each its own database, folder and processes, end in the same bytes and have the same history;
# so does one that is killed on the way and goes on. The paper's CIFAR-10 network, STEPS steps of CARD_BATCH images, across every
# change of N. Where the card's table of choices (core/backend/cuda/plans) has all of theirs nothing is shared between the
# runs; elsewhere the second and third begin with the choices that the first one's timing made (kernels.txt). Skipped where there is no
# card. CARD_PRECISION, CARD_DATA and CARD_CHANNELS choose others.
source "$(dirname "$0")/helpers.bash"

precision=${CARD_PRECISION:-fp16} steps=${STEPS:-200}
run doctor
if ! grep -q "^✓ device     cuda: " "$FOLDER/out"; then
    echo "ok 1 - runs on a card # SKIP there is none, or the build is without CUDA"
    count=1
    finish
fi
table=$(sed -nE 's/.*plan table ([^,]*),.*/\1/p' "$FOLDER/out")
echo "# plan table: $table"
data=(data.name=shapes data.resolution=32 data.count=4096)
[[ -z ${CARD_DATA:-} ]] || data=("data.name=$CARD_DATA")
command=(experiments/cifar10_main.yaml --device cuda "precision=$precision" "${data[@]}" "model.channels=${CARD_CHANNELS:-128}"
    "train.batch=${CARD_BATCH:-512}" "train.steps=$steps" train.tick=10 "train.checkpoint=$((steps / 5))" evaluation.at=[1]
    evaluation.metrics=[] evaluation.grid=0)

# share NAME: what the first run chose by timing, where the table lacks it
share() {
    local folder
    grep -Fxvqf <(cat core/backend/cuda/plans/*.txt) "$(echo "$FOLDER"/first/runs/*/kernels.txt)" || return 0
    folder=$(basename "$(echo "$FOLDER"/first/runs/*)")
    mkdir -p "$FOLDER/$1/runs/$folder" && cp "$FOLDER/first/runs/$folder/kernels.txt" "$FOLDER/$1/runs/$folder/"
}
train() { ICT_DB=$FOLDER/$1/ict.db run "${command[@]}"; }

train first
check "a run" status_is 0
grep -h "^kernels: " "$FOLDER"/first/runs/*/log.txt | sed 's/^/# /'
check "with a checkpoint at its end" test -s "$(echo "$FOLDER"/first/runs/*/checkpoint-"$steps".safetensors)"
check "of many levels" same "$(ICT_DB=$FOLDER/first/ict.db sql "SELECT max(value) > 1000 FROM metric WHERE name = 'N'")" 1
share second
train second
check "and another one from nothing" status_is 0
check "the same kernels" cmp "$(echo "$FOLDER"/first/runs/*/kernels.txt)" "$(echo "$FOLDER"/second/runs/*/kernels.txt)"
check "the same weights, moments and averages" same "$(weights_of "$FOLDER/second" "$steps")" "$(weights_of "$FOLDER/first" "$steps")"
check "the same losses" same "$(metrics_of "$FOLDER/second")" "$(metrics_of "$FOLDER/first")"

share killed
export ICT_DB=$FOLDER/killed/ict.db
"$ICT" "${command[@]}" >"$FOLDER/out" 2>&1 &
parent=$!
got_far() { grep -q -- "step $((steps / 2))/" "$FOLDER"/killed/runs/*/log.txt || ! kill -0 $parent; }
check "a third one gets under way" wait_for 200 got_far
check "and is killed" kill -KILL "$(sql "SELECT pid FROM run")"
wait $parent
status=$?
check "which is noticed" status_is 1
train killed
check "the same command goes on" status_is 0
check "from a checkpoint" says "resumed from"
check "and ends in the same bytes" same "$(weights_of "$FOLDER/killed" "$steps")" "$(weights_of "$FOLDER/first" "$steps")"
check "with the same history" same "$(metrics_of "$FOLDER/killed")" "$(metrics_of "$FOLDER/first")"
finish
