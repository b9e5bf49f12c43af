#!/bin/bash
# shellcheck disable=SC1091,SC2034
# A question of the paper from its runs to its tables and figures; and one of which this machine can answer a part only.
source "$(dirname "$0")/helpers.bash"
unset ICT_DATA
figures=$FOLDER/figures

make -s ablation-ema SCALE=smoke ARGS="evaluation.at=[1]" >"$FOLDER/out" 2>&1
status=$?
check "make ablation-ema" status_is 0
check "four arms, one seed" same "$(sql "SELECT count(*) || ' ' || sum(state = 'done') || ' ' || max(seed) FROM run")" "4 4 0"
for arm in "no EMA (iCT)" "EMA 0.75" "EMA 0.99" "CT schedule"; do
    check "the table has $arm" says "| $arm | fd-random | 1 |"
done
check "one seed is no verdict" says "undecided (n = 1)"
for name in arms bars loss samples_arms; do
    check "figure $name" test -s "$figures/$name-ema-smoke.png" -a -s "$figures/$name-ema-smoke.svg" -a -s "$figures/$name-ema-smoke.pdf"
done
make -s ablation-ema SCALE=smoke ARGS="evaluation.at=[1]" >"$FOLDER/out" 2>&1
check "again: nothing is left to train" says "4 runs: 4 done (4 of them earlier)"

run ablations/precision.yaml --scale smoke --threads 1 seed=0 ct.s1=8 evaluation.at=[1]
check "what this device lacks does not fail the rest" status_is 0
check "it is said of each arm" same "$(grep -c "is left out: the CPU computes in fp32 only" "$FOLDER/out")" 3
check "and once more at the end" says "4 runs: 1 done, 3 left out"
for table in ablation verdict; do
    run table "$table" experiment=precision
    check "table $table names what is missing" same "$(grep -c "missing: 1 queued: the CPU computes in fp32 only" "$FOLDER/out")" 3
done
for name in arms arms_time bars loss update_norm samples_arms; do
    run figure "$name" experiment=precision --out "$FOLDER/once/$name" --format png
    check "figure $name" status_is 0
    check "it names what is missing" same "$(grep -c "^# .*[tbf][fp][13][62]: 1 queued" "$FOLDER/once/$name.tsv")" 3
    run figure "$name" experiment=precision --out "$FOLDER/twice/$name" --format png
    check "and is the same bytes again" cmp "$FOLDER/once/$name.png" "$FOLDER/twice/$name.png"
done
run ablations/precision.yaml --scale smoke seed=0 ct.s1=8 evaluation.at=[1] precision=bf16
check "an override that flattens the arms is refused" status_is 2
finish
