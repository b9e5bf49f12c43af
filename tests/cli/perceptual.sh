#!/bin/bash
# shellcheck disable=SC1091
# A perceptual distance from the command line: weights are imported, planned with, and missed with a message that helps.
source "$(dirname "$0")/helpers.bash"
export ICT_WEIGHTS=$FOLDER/weights
NARROW=tests/golden/vgg16-narrow.safetensors
LPIPS=("${TINY[@]}" ct.distance=perceptual train.steps=4 train.batch=4 evaluation.at=[1])

run experiments/cifar10_ct.yaml data.name=shapes --dry-run
check "the paper's CT without weights ends with 2" status_is 2
check "with the line that asks for them" says "cifar10_ct.yaml:"
check "and what to fetch" says "vgg16-397923af.pth"
check "and how to convert it" says "scripts/convert_features.py"
check "and what to do meanwhile" says "ct.distance=l2"
run experiments/cifar10_ct.yaml data.name=shapes ct.distance=l2 --dry-run
check "which works" status_is 0
run experiments/cifar10_ct.yaml --scale smoke --dry-run
check "as does a smaller scale" status_is 0

run weights ls
check "weights ls says what could be there" says "vgg16-lpips"
run weights import vgg16-lpips "$NARROW"
check "other weights under the published name are refused" status_is 2
check "with the reason" says "not the published weights"
run weights import narrow "$NARROW"
check "under a name of their own they are not" status_is 0
run weights ls
check "and are listed" says "narrow"

run "${LPIPS[@]}" ct.perceptual=narow ct.perceptual_size=16 --dry-run
check "a misspelt name ends with 2" status_is 2
check "and lists what there is" says "ct.perceptual=NAME with narrow"
run "${LPIPS[@]}" ct.perceptual=narrow ct.perceptual_size=16
check "a run trains with them" status_is 0
check "and the database knows their checksum" \
    same "$(sql "SELECT instr(config, 'ct.perceptual_hash: $(sha256sum "$NARROW" | cut -d' ' -f1)') > 0 FROM run")" 1
run "${LPIPS[@]}" ct.perceptual=narrow ct.perceptual_size=16
check "the same command again has nothing to do" status_is 0
check "because it is the same run" same "$(sql "SELECT count(*) FROM run")" 1
printf 'x' | dd of="$FOLDER/weights/narrow/weights.safetensors" bs=1 seek=22000 conv=notrunc status=none
run "${LPIPS[@]}" ct.perceptual=narrow ct.perceptual_size=16 seed=1
check "weights that were changed behind its back start nothing" status_is 2
check "and are named" log_says "weights/narrow/weights.safetensors: its SHA-256"
finish
