#!/bin/bash
# shellcheck disable=SC1091,SC2034
# Two queues on one database, a thousand ticks a run: every row of every tick is there once. First with an experiment each, then
# both with the same one and its two seeds, which they share out.
source "$(dirname "$0")/helpers.bash"
TICKS=1000
least=(--scale smoke --threads 1 data.resolution=8 "model.channel_mult=[1]" "model.attention=[]" model.channels=4 train.batch=1
    "train.steps=$TICKS" train.tick=1 train.checkpoint=0 "evaluation.at=[]" "evaluation.metrics=[]")

# both FIRST SECOND: two commands at once, each a string of words; their exit statuses are left in status and other_status
both() {
    read -ra words <<<"$1"
    "$ICT" "${words[@]}" "${least[@]}" >"$FOLDER/out" 2>&1 &
    local first=$!
    read -ra words <<<"$2"
    "$ICT" "${words[@]}" "${least[@]}" >"$FOLDER/other" 2>&1
    other_status=$?
    wait $first
    status=$?
}
rows_of() { sql "SELECT count(*) FROM metric JOIN run ON id = run_id WHERE $1"; }
# Metrics that every tick has (not the noise levels' bins), by run: names x ticks rows, each step from 1 to TICKS.
whole_histories() {
    sql "SELECT DISTINCT count(*) || ' ' || count(DISTINCT step) || ' ' || min(step) || ' ' || max(step) FROM metric
        WHERE name NOT LIKE '%sigma%' GROUP BY run_id, name"
}

both experiments/quickstart.yaml experiments/cifar10_ct.yaml
check "two experiments at once: one ends with 0" same "$status" 0
check "the other, too" same "$other_status" 0
check "both runs are done" same "$(sql "SELECT count(*) FROM run WHERE state = 'done'")" 2
check "every metric has a row a tick, from the first to the last" same "$(whole_histories)" "$TICKS $TICKS 1 $TICKS"
check "each log has every tick" same "$(grep -c '^step ' "$FOLDER"/runs/*/log.txt | sed 's/.*://' | sort -u)" "$TICKS"

both "experiments/quickstart.yaml seed=1,2" "experiments/quickstart.yaml seed=1,2"
ended() { ((status == 0 || status == 75)) && ((other_status == 0 || other_status == 75)); }
check "the same experiment twice at once ends well" ended
check "each of its runs is trained once" same "$(sql "SELECT group_concat(n, ' ') FROM (SELECT count(*) n FROM event JOIN run ON id = run_id
    WHERE seed > 0 AND text LIKE 'from step %' GROUP BY run_id)")" "1 1"
check "all runs are done" same "$(sql "SELECT count(*) FROM run WHERE state = 'done'")" 4
check "nothing is lost there either" same "$(whole_histories)" "$TICKS $TICKS 1 $TICKS"
finish
