#!/bin/bash
# shellcheck disable=SC1091,SC2034
# Every command on a finished run.
source "$(dirname "$0")/helpers.bash"
run "${TINY[@]}" train.steps=10 seed=0,1
check "two runs" status_is 0
a=$(sql "SELECT id FROM run WHERE seed = 0") b=$(sql "SELECT id FROM run WHERE seed = 1")

run ls
check "ls lists both" same "$(grep -cw "done" "$FOLDER/out")" 2
run ls "$a"
check "ls takes words" same "$(grep -cw "done" "$FOLDER/out")" 1
run ls --watch
check "ls --watch prints once into a pipe" status_is 0
check "and says what is left of all" says "2 runs, 2 done"
if command -v script >/dev/null; then
    (sleep 0.5; printf q; sleep 1) | script -qec "$ICT ls --watch" /dev/null >"$FOLDER/out" 2>&1
    status=$?
    check "on a terminal q ends it" status_is 0
    check "and the cursor is back" says $'\e[?25h\e[?1049l'
fi
run show "${a:0:6}"
check "show takes the beginning of an id" status_is 0
check "show has versions, metrics, artifacts, configuration" says "libraries"
check "show has metrics" says "gradient_norm"
check "show has the configuration" says "train.steps: 10"
run show "${a:0:6}zz"
check "an unknown id ends with 2" status_is 2
run diff "$a" "$b"
check "diff shows what differs" says "seed"
check "and not what is equal" says_not "model.channels"
run log "$a"
check "log prints the log" says "step 10/10"

run sample "$a" --seeds 3-6 --out "$FOLDER/s" --threads 1
check "sample ends with 0" status_is 0
check "one picture a seed, and the grid" same "$(cd "$FOLDER/s" && echo *)" \
    "grid.png seed-000003.png seed-000004.png seed-000005.png seed-000006.png"
run sample "$a" --seeds 5 --out "$FOLDER/t" --threads 1
check "an image depends on its seed alone" cmp "$FOLDER/s/seed-000005.png" "$FOLDER/t/seed-000005.png"
run sample "$a" --weights emma --threads 1
check "unknown weights end with 2" status_is 2
check "and the weights there are get named" says "ema:0.05"
run eval "$a" --weights raw --nfe 1 --samples 512 --metrics fd-random --threads 1
check "eval ends with 0" status_is 0
check_rounding() { # only a card computes in several precisions
    run rounding "$a" --device cpu
    status_is 2 && says "the CPU computes in fp32 only" && run rounding "$a" --levels 11,5 --device cpu
    says "--levels: '11,5' is not a list" && run figure rounding "$a"
    says "figure 'rounding' is empty"
}
check "rounding says that the CPU has fp32 only" check_rounding
check "eval stores what it found" same "$(sql "SELECT weights || nfe || samples FROM evaluation WHERE metric = 'fd-random'")" raw1512

run export --json
check "export writes JSON" says "\"id\":\"$a\""
run export metrics
check "export writes CSV" says "$a,10,80,loss,"
run export --tensorboard "$FOLDER/board"
check "export writes TensorBoard's files, one a run" same "$(find "$FOLDER/board" -name 'events.out.tfevents.*' | wc -l)" 2
run export --tensorboard "$FOLDER/board" --json
check "one kind of export at a time" status_is 2
run export --hub "$FOLDER/hub" "$a" --threads 1
check "export --hub ends with 0" status_is 0
check "and leaves a whole folder" same "$(cd "$FOLDER/hub" && echo *)" "README.md config.yaml model.safetensors samples.png"
run sample "$FOLDER/hub" --seeds 3-6 --out "$FOLDER/u" --threads 1
check "samples from the folder are those from the run" diff -r "$FOLDER/s" "$FOLDER/u"
run sample "$FOLDER/hub" --weights raw
check "a folder has one set of weights" says "holds one set"
run export --hub "$FOLDER/hub" "$a" --weights emma --threads 1
check "a model of unknown weights is not exported" says "ema:0.05"
run import "$ICT_DB" --db "$FOLDER/elsewhere/other.db"
check "import ends with 0" status_is 0
check "import brings both runs" same "$(ICT_DB=$FOLDER/elsewhere/other.db sql "SELECT count(*) FROM run")" 2
run data ls
check "data ls knows the built-in set" says "shapes"
run doctor
check "doctor finds nothing missing" status_is 0
run doctor --card 80
check "doctor says which batch fits on a card" says "1024 of 1024 images at a time in fp16"
check "and looks at the database" says "sound"
run help config
check "help config lists the keys" says "train.batch"
run help sample
check "help explains a command" says "--seeds"
run bench --seconds 0.2 --threads 1 "${TINY[0]}" train.batch=8 model.channels=8 --ops
check "bench prints a rate" says " images/s"
check "bench prints the peak of memory" says "peak memory of the process: "
check "bench --ops lists ops" says "GFLOP/s"
run bench "${TINY[@]:0:1}" train.batch=8 model.channels=16 --seconds 0.1 --threads 1 --session tiny --ops --sample
check "a session of bench is kept" same "$(sql "SELECT count(*) FROM bench_value WHERE name = 'training images/s'")" 1
printf 'peer\tprogram\tother\npeer\tprecision\tfp32\npeer\tbatch\t8\npeer\ttraining images/s\t1\n' >"$FOLDER/peer"
run bench --session tiny --peer "$FOLDER/peer"
check "a peer joins it" status_is 0
run bench --session other --peer "$FOLDER/peer"
check "but no session that is not there" says "no session 'other'"
run table speed session=tiny
check "a table sets them side by side" says "| other | fp32 | 8 | 1.0 |"
run figure bench session=tiny --out "$FOLDER/bench"
check "and a figure, with both rates" grep -q "sampling in one step" "$FOLDER/bench.svg"
finish
