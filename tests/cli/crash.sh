#!/bin/bash
# shellcheck disable=SC1091,SC2034
# A crash is told at once and marks its run failed; the others go on; --retry takes the failed one up again.
source "$(dirname "$0")/helpers.bash"
command=("${TINY[@]}" train.steps=150 evaluation.at=[1] "seed=0,1,2")

"$ICT" "${command[@]}" >"$FOLDER/out" 2>&1 &
parent=$!
check "the first run gets under way" wait_for 60 log_says "step 25/"
check "it can be made to crash" kill -ABRT "$(sql "SELECT pid FROM run WHERE state = 'running'")"
wait $parent
status=$?
check "the command ends with 1" status_is 1
check "the crash is told with its signal" says "signal 6"
check "and with the place of the log" says "log.txt"
check "one run failed, the others are done" same "$(sql "SELECT state FROM run ORDER BY seed" | paste -sd' ')" "failed done done"
check "the reason is stored" same "$(sql "SELECT error LIKE 'killed by signal 6%' FROM run WHERE seed = 0")" 1

run "${command[@]}"
check "a failed run waits" status_is 1
check "for --retry" says "--retry"
run "${command[@]}" --retry
check "--retry ends with 0" status_is 0
check "it goes on from the checkpoint" says "resumed from"
check "all are done now" same "$(sql "SELECT count(*) FROM run WHERE state = 'done'")" 3

# Several at a time, two queues on one database: every run is run once.
command=("${TINY[@]}" train.steps=20 "seed=10,11,12,13" --jobs 2)
"$ICT" "${command[@]}" >"$FOLDER/other" 2>&1 &
other=$!
run "${command[@]}"
wait $other
other_status=$?
both() { ((status == 0 || status == 75)) && ((other_status == 0 || other_status == 75)); }
check "two queues side by side end well" both
check "and have done all runs" same "$(sql "SELECT count(*) FROM run WHERE seed >= 10 AND state = 'done'")" 4
ends() { cat "$FOLDER"/runs/*/log.txt | grep -c "^done at step 20 "; }
check "each of them once" same "$(ends)" 4
check "with one row a tick" same "$(sql "SELECT count(*) FROM metric JOIN run ON id = run_id WHERE seed >= 10 AND name = 'loss'")" 16
finish
