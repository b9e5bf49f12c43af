#!/bin/bash
# shellcheck disable=SC1091,SC2034
# The same command twice does nothing the second time; --force and --dry-run do what they say.
source "$(dirname "$0")/helpers.bash"
command=("${TINY[@]}" train.steps=10)

run "${command[@]}" --dry-run
check "a dry run ends with 0" status_is 0
check "a dry run names the run" says "quickstart"
check "a dry run leaves nothing" test ! -e "$ICT_DB"

run "${command[@]}"
check "a run ends with 0" status_is 0
check "it prints plain tick lines" says "step 10/10"
check "its state is done" state_is "done"
log=$(echo "$FOLDER"/runs/*/log.txt)
check "its log is kept" grep -q "step 10/10" "$log"
check "its picture is kept" test -s "$(echo "$FOLDER"/runs/*/samples-10.png)"
check "its configuration is kept" grep -q "^train.steps: 10" "$(echo "$FOLDER"/runs/*/config.yaml)"
check "checkpoint and pictures are recorded" same "$(sql "SELECT group_concat(kind || step, ' ') FROM (SELECT * FROM artifact
    ORDER BY kind, step)")" "checkpoint5 checkpoint10 figure5 figure10 samples5 samples10"
before=$(sha256sum "$FOLDER"/runs/*/*)

run "${command[@]}"
check "the second time ends with 0" status_is 0
check "and says that the run is done" says "done already"
check "and touches no file" same "$(sha256sum "$FOLDER"/runs/*/*)" "$before"

run "${command[@]}" --force
check "--force ends with 0" status_is 0
check "--force starts at the beginning" says "step 5/10"
check "and leaves one history" same "$(sql "SELECT group_concat(step, ' ') FROM metric WHERE name = 'loss'")" "5 10"
check "and the same weights" same "$(sha256sum "$FOLDER"/runs/*/checkpoint-10.safetensors)" \
    "$(grep checkpoint-10 <<<"$before")"

run "${command[@]}" seed=0,1 train.lr=1e-3
check "a sweep makes a run a value" same "$(sql "SELECT count(*) FROM run")" 3
finish
