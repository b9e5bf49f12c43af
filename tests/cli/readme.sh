#!/bin/bash
# shellcheck disable=SC1091,SC2034
# Every command of README.md, as it stands there, at the smallest scale: no command may be added that this script does not know.
source "$(dirname "$0")/helpers.bash"
export ICT_DATA=$FOLDER/data
SMOKE=(--scale smoke --threads 1)
SMALL=(train.batch=8 model.channels=16)
COMMANDS=$(sed -nE 's/^    ((\.\/run|make) [^#]*[^# ]) *(#.*)?$/\1/p' README.md)

# The commands in README's order, with what a reader fills in and what makes them small.
known() {
    local line=$1 id=${2:-} images=${3:-}
    line=${line//PATH\/TO\/images.zip/$images}
    line=${line//PATH\/TO\/cifar-10-binary.tar.gz/$FOLDER/cifar.tar.gz}
    line=${line// ID/ $id}
    line=${line// DIR/ $FOLDER/exported}
    read -ra words <<<"$line"
    [[ ${words[1]} == *.yaml ]] && words+=("${SMOKE[@]}")
    [[ $line == *cifar10-jpeg ]] && words+=("evaluation.metrics=[]") # a distance needs more pictures than are made here
    case $line in
    "make test") return 0 ;; # this is it
    "make bench") words=(env ROUNDS=1 SECONDS_A_TURN=0.1 PYTHON=false scripts/bench "${SMALL[@]}") ;;
    "make ablation-ema") return 0 ;; # question.sh
    "./run rounding"*) # needs a card
        run rounding "$id" --device cpu
        says "the CPU computes in fp32 only"
        return
        ;;
    "./run bench"*) words+=("${SMALL[@]}" --seconds 0.1 --threads 1) ;;
    "./run sample"*) words+=(--out "$FOLDER/images" --threads 1) ;;
    "./run eval"*) words+=(--samples 512 --threads 1) ;;
    esac
    "${words[@]}"
}

id=
check "README's first screen has the two commands" same "$(head -n 2 <<<"$COMMANDS")" "$(printf '%s\n' \
    "./run experiments/quickstart.yaml" "make test")"
known "./run experiments/quickstart.yaml" >/dev/null 2>&1
id=$(sql "SELECT id FROM run" | head -n 1)
known "./run sample ID --seeds 0-63" "$id" >/dev/null 2>&1
rm -f "$FOLDER/images/grid.png"
for i in 1 2 3 4 5; do head -c $((4 * 3073)) /dev/zero >"$FOLDER/data_batch_$i.bin"; done # four black airplanes each
tar -C "$FOLDER" -czf "$FOLDER/cifar.tar.gz" data_batch_{1..5}.bin
while read -r line; do
    check "$line" known "$line" "$id" "$FOLDER/images"
done <<<"$COMMANDS"
finish
