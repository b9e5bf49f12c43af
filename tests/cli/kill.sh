#!/bin/bash
# shellcheck disable=SC1091,SC2034
# A run that is killed and started again ends with the weights and the metrics of one that was left alone, to the last bit.
source "$(dirname "$0")/helpers.bash"
command=("${TINY[@]}" train.steps=150)

ICT_DB=$FOLDER/whole/ict.db run "${command[@]}"
check "undisturbed" status_is 0

"$ICT" "${command[@]}" >"$FOLDER/out" 2>&1 &
parent=$!
check "the run gets under way" wait_for 60 log_says "step 45/"
check "the worker can be killed" kill -KILL "$(sql "SELECT pid FROM run")"
wait $parent
status=$?
check "the harness survives and ends with 1" status_is 1
check "it says what happened" says "killed by signal 9"
check "the run counts as interrupted" state_is interrupted
check "a checkpoint is there" test -e "$(echo "$FOLDER"/runs/*/checkpoint-40.safetensors)"

run "${command[@]}"
check "the same command goes on" status_is 0
check "from a checkpoint" says "resumed from"
check "the weights are those of the undisturbed run" same "$(weights_of "$FOLDER" 150)" "$(weights_of "$FOLDER/whole" 150)"
check "so is the history of metrics" same "$(metrics_of "$FOLDER")" "$(metrics_of "$FOLDER/whole")"

# The harness itself is killed: its children end, and nothing is left that looks alive.
rm -rf "$FOLDER"/runs "$FOLDER"/ict.db*
"$ICT" "${command[@]}" >"$FOLDER/out" 2>&1 &
parent=$!
check "another run gets under way" wait_for 60 log_says "step 45/"
worker=$(sql "SELECT pid FROM run")
{
    kill -KILL $parent
    wait $parent
} 2>/dev/null # the shell would announce it
worker_is_gone() { ! kill -0 "$worker"; }
check "without its parent a worker ends" wait_for 60 worker_is_gone
check "and has saved its state" state_is interrupted
run "${command[@]}"
check "the same command goes on after that, too" status_is 0
check "with the same weights" same "$(weights_of "$FOLDER" 150)" "$(weights_of "$FOLDER/whole" 150)"
finish
