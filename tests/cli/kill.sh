#!/bin/bash
# shellcheck disable=SC1091,SC2034
# A run that is killed and started again ends with the weights, metrics, evaluations and pictures of one that was left alone, to
# the last bit: first at moments that the test chooses, then KILLS times at random ones (KILLS=100 takes some minutes), some of
# them aimed at the writing of a checkpoint and at an evaluation. KILL_SEED makes other moments.
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
check "the queue survives and ends with 1" status_is 1
check "it says what happened" says "killed by signal 9"
check "the run counts as interrupted" state_is interrupted
check "a checkpoint is there" test -e "$(echo "$FOLDER"/runs/*/checkpoint-40.safetensors)"

run "${command[@]}"
check "the same command goes on" status_is 0
check "from a checkpoint" says "resumed from"
check "the weights are those of the undisturbed run" same "$(weights_of "$FOLDER" 150)" "$(weights_of "$FOLDER/whole" 150)"
check "so is the history of metrics" same "$(metrics_of "$FOLDER")" "$(metrics_of "$FOLDER/whole")"

# The queue itself is killed: its children end, and nothing is left that looks alive.
rm -rf "$FOLDER"/runs "$FOLDER"/ict.db*
"$ICT" "${command[@]}" >"$FOLDER/out" 2>&1 &
parent=$!
check "another run gets under way" wait_for 60 log_says "step 45/"
worker=$(sql "SELECT pid FROM run")
{
    kill -KILL $parent
    wait $parent
} 2>/dev/null # the shell would announce it
worker_is_gone() { ! kill -0 "$worker" 2>/dev/null; }
check "without its parent a worker ends" wait_for 60 worker_is_gone
check "and has saved its state" state_is interrupted
run "${command[@]}"
check "the same command goes on after that, too" status_is 0
check "with the same weights" same "$(weights_of "$FOLDER" 150)" "$(weights_of "$FOLDER/whole" 150)"

# ---- at random ----

KILLS=${KILLS:-3}
RANDOM=${KILL_SEED:-1} STEPS=120
command=(experiments/quickstart.yaml --scale smoke --threads 1 "train.steps=$STEPS" train.tick=2 train.checkpoint=4
    "evaluation.metrics=[fd-random]" model.channels=16)
rm -rf "$FOLDER"/runs "$FOLDER"/whole "$FOLDER"/ict.db*

milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }
start=$(milliseconds)
ICT_DB=$FOLDER/whole/ict.db run "${command[@]}"
length=$(($(milliseconds) - start))
check "undisturbed, with evaluations" status_is 0

alive() { kill -0 "$1" 2>/dev/null; }
writing() { compgen -G "$FOLDER/runs/*/checkpoint-*.tmp" >/dev/null; }
# The checkpoint of an evaluation's step is there, its last picture is not.
evaluating() {
    compgen -G "$FOLDER/runs/*/checkpoint-$1.safetensors" >/dev/null && ! compgen -G "$FOLDER/runs/*/samples-$1.png" >/dev/null
}
exec {never}<> <(:) # nothing is ever read from it: waiting for it makes no process, and a checkpoint takes some milliseconds
nap() { read -rt "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))" -u "$never"; }
wait_while_alive() { # PROCESS COMMAND...: until the command succeeds or the process is gone
    local process=$1
    shift
    while alive "$process" && ! "$@"; do nap 1; done
}
child_find() { worker=$(cat "/proc/$1/task/$1/children" 2>/dev/null) && worker=${worker% } && [[ -n $worker ]]; }

# Chooses what is to die, the worker, the queue, or both at once as in a power cut, and waits for its moment.
moment_wait() { # HARNESS
    local moment=$((RANDOM % 4)) victim=$((RANDOM % 3)) step=$((RANDOM % 2 ? STEPS / 2 : STEPS))
    ((moment > 1)) || wait_while_alive "$1" child_find "$1"
    ((moment < 2)) || nap $((RANDOM * length / 32768))
    ((moment < 2)) || child_find "$1"
    victims=("$1")
    [[ -z $worker ]] || ((victim == 1)) || victims+=("$worker")
    ((victim > 0)) || victims=("${victims[@]:1}")
    ((moment != 0)) || wait_while_alive "$1" writing
    ((moment != 1)) || wait_while_alive "$1" evaluating "$step"
    ((moment != 1)) || nap $((RANDOM % 400))
}

evaluations_of() {
    ICT_DB=$1/ict.db sql "SELECT step, weights, nfe, metric, value, samples, features_hash, reference_hash FROM evaluation ORDER BY 1, 2, 3, 4"
}
pictures_of() { (cd "$1"/runs/* && sha256sum samples-*.png); }
# Where each start took the run up again: never further back than the one before.
starts_of() { sql "SELECT text FROM event WHERE text LIKE 'from step %' ORDER BY rowid" | sed -E 's/.*from step ([0-9]+).*/\1/'; }
history_is_clean() { # LAUNCHES, of which some were killed before they came to the database
    local events
    events=$(sql "SELECT count(*) FROM event WHERE text LIKE './run%'")
    starts_of | sort -nc || return
    ((events >= 1 && events <= $1)) || { echo "$events starts in the history, $1 launches"; return 1; }
    state_is "done" || return
    ! compgen -G "$FOLDER/runs/*/*.damaged" && ! compgen -G "$FOLDER/runs/*/checkpoint-*.tmp"
}
run_is_the_undisturbed_one() { # LAUNCHES
    same "$(weights_of "$FOLDER" $STEPS)" "$(weights_of "$FOLDER/whole" $STEPS)" &&
        same "$(metrics_of "$FOLDER")" "$(metrics_of "$FOLDER/whole")" &&
        same "$(evaluations_of "$FOLDER")" "$(evaluations_of "$FOLDER/whole")" &&
        same "$(pictures_of "$FOLDER")" "$(pictures_of "$FOLDER/whole")" && history_is_clean "$1"
}

killed=0 launches=0 in_writing=0 in_evaluation=0
finished() {
    check "a run launched $launches times is the undisturbed one" run_is_the_undisturbed_one "$launches"
    rm -rf "$FOLDER"/runs "$FOLDER"/ict.db*
    launches=0
}
while ((killed < KILLS)); do
    "$ICT" "${command[@]}" >"$FOLDER/out" 2>&1 &
    parent=$!
    launches=$((launches + 1))
    worker=
    moment_wait $parent
    if alive $parent && kill -KILL "${victims[@]:-$parent}" 2>/dev/null; then
        killed=$((killed + 1))
        ! writing || in_writing=$((in_writing + 1))
        ! { evaluating $((STEPS / 2)) || evaluating $STEPS; } || in_evaluation=$((in_evaluation + 1))
    fi
    { wait $parent; } 2>/dev/null # the shell would announce it
    status=$?
    [[ -z $worker ]] || wait_for 60 worker_is_gone || check "nobody stays behind" false
    ((status != 0)) || finished
    ((status != 2)) || break
done
echo "# $killed kills, $in_writing while a checkpoint was written, $in_evaluation while an evaluation was under way"
go_on() { # a worker whose queue was killed as it was started may still be saving its state
    launches=$((launches + 1))
    run "${command[@]}"
    says_not "is being run by"
}
wait_for 60 go_on
check "after $KILLS kills the command goes on to its end" status_is 0
finished
finish
