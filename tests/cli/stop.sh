#!/bin/bash
# shellcheck disable=SC1091,SC2034
# SIGTERM, Ctrl-C and the time limit stop a run with its state saved and exit status 75; the same command goes on.
source "$(dirname "$0")/helpers.bash"
command=("${TINY[@]}" train.steps=150 evaluation.at=[1])

ICT_DB=$FOLDER/whole/ict.db run "${command[@]}"
check "undisturbed" status_is 0

stop_at() { # SIGNAL LINE
    "$ICT" "${command[@]}" >"$FOLDER/out" 2>&1 &
    local parent=$!
    wait_for 60 log_says "$2" || return
    kill -"$1" $parent
    wait $parent
    status=$?
}
stop_at TERM "step 25/"
check "SIGTERM ends with 75" status_is 75
check "the state is saved" state_is interrupted
check "and the user is told how to go on" says "the same command goes on"
stop_at USR1 "step 75/"
check "SIGUSR1 (a batch system's warning) ends with 75" status_is 75

run "${command[@]}" --max-wall 0.1s
check "the time limit ends with 75" status_is 75
check "and says how to go on" says "the same command goes on"

run "${command[@]}"
check "the same command ends the run" status_is 0
check "with the weights of the undisturbed run" same "$(weights_of "$FOLDER" 150)" "$(weights_of "$FOLDER/whole" 150)"
check "and its metrics" same "$(metrics_of "$FOLDER")" "$(metrics_of "$FOLDER/whole")"
check "every start is an event" same "$(sql "SELECT count(*) FROM event WHERE text LIKE './run%'")" 4
finish
