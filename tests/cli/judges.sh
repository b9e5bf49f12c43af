#!/bin/bash
# shellcheck disable=SC1091
# A question whose runs are trained against one classifier and judged by another: both are trained first, once, and nothing takes the
# one for the other.
source "$(dirname "$0")/helpers.bash"
export ICT_WEIGHTS=$FOLDER/weights
QUESTION=(ablations/judges.yaml --scale smoke seed=0 --threads 1)

run "${QUESTION[@]}" --dry-run
check "what a question needs is shown first" says "first classifier-judge-shapes-16-2048"
check "with the run that trains it" says "classifier_shapes"
check "and the runs that wait for it" says "later"
check "and nothing has been started" same "$(ls "$FOLDER/weights" 2>/dev/null)" ""

run "${QUESTION[@]}"
check "the question trains what it needs and then runs" status_is 0
check "both classifiers are there" same "$(cd "$FOLDER/weights" && echo ./*)" \
    "./classifier-judge-shapes-16-2048 ./classifier-loss-shapes-16-2048"
check "every arm is done" same "$(sql "SELECT count(*) FROM run JOIN plan ON plan.run_id = run.id JOIN experiment x ON x.id = plan.experiment_id
    WHERE x.name = 'judges' AND run.state = 'done'")" 3

run "${QUESTION[@]}"
check "the same command again trains nothing" says_not "first classifier"
check "and ends at once" status_is 0

check "numbers say which images the judge has seen" \
    same "$(sql "SELECT DISTINCT protocol FROM evaluation WHERE metric = 'fd-classifier' AND nfe > 0")" "round; trained on 1024-1842"
check "and which ones the loss network" \
    same "$(sql "SELECT DISTINCT protocol FROM evaluation WHERE metric = 'fd-classifier-loss' AND nfe > 0")" "round; trained on 0-1023"
check "the two are different networks" \
    same "$(sql "SELECT count(DISTINCT features_hash) FROM evaluation WHERE metric LIKE 'fd-classifier%' AND nfe > 0")" 2
run table judges experiment=judges
check "the table tells progress from flattery" says "flattery"
if command -v gnuplot >/dev/null; then
    run figure flattery experiment=judges --format svg --out "$FOLDER/flattery"
    check "and so does the figure" grep -q "loss network (fd-classifier-loss)" "$FOLDER/flattery.svg"
fi

run experiments/quickstart.yaml --scale smoke ct.distance=perceptual ct.perceptual=classifier-judge-shapes-16-2048 --dry-run
check "a judge is refused as a loss network" status_is 2
check "with the reason" says "is the judge of shapes, which must not know what it judges"

rm -r "$FOLDER/weights/classifier-judge-shapes-16-2048"
id=$(sql "SELECT run_id FROM plan WHERE arm = 'squared l2'")
run eval "$id" --threads 1 --metrics fd-classifier
check "a judge that is not there ends with 2" status_is 2
check "and the line that trains it" says "./run experiments/classifier_shapes.yaml data.resolution=16 data.count=2048"
run "${QUESTION[@]}"
check "a question trains it again" status_is 0
check "to the same bits" same "$(sql "SELECT count(DISTINCT features_hash) FROM evaluation WHERE metric = 'fd-classifier'")" 1
finish
