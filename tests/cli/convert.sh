#!/bin/bash
# shellcheck disable=SC1091,SC2034
# Weights of EDM, ECT and OpenAI to our files and back (scripts/check_convert.py), a run's checkpoint among them. Only where a
# Python with PyTorch is: nothing else here needs one.
source "$(dirname "$0")/helpers.bash"

python=${PYTHON:-/usr/bin/python3}
if ! "$python" -c "import torch, numpy" 2>/dev/null; then
    echo "ok - conversion of weights # skip $python has no PyTorch: scripts/setup --peers"
    echo 1..1
    exit 0
fi
run "${TINY[@]}" train.steps=10 evaluation.at=[1]
"$python" scripts/check_convert.py "$ICT" "$FOLDER" "$FOLDER"/runs/*/checkpoint-10.safetensors 2>&1
