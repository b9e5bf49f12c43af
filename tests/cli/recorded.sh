#!/bin/bash
# shellcheck disable=SC1091,SC2034
# Recorded runs on a clean clone: dumps come in, and every figure and table of them is drawn twice to the same bytes, without training.
source "$(dirname "$0")/helpers.bash"

for dump in results/recorded/*.sql; do
    runs=$(grep -c '^INSERT INTO run VALUES' "$dump")
    sessions=$(grep -c '^INSERT INTO bench VALUES' "$dump") # a dump may hold nothing else
    run import "$dump"
    check "import $dump" says "$runs run$( ((runs == 1)) || echo s) new"
    ((sessions == 0)) || check "and what bench found" says "new numbers of $sessions session$( ((sessions == 1)) || echo s) of bench"
    check "which is something" test $((runs + sessions)) -gt 0
    run import "$dump"
    check "importing it again changes nothing" says "0 runs new, 0 further along than here, $runs known"
    ((sessions == 0)) || check "of bench neither" test -z "$(grep 'sessions\? of bench' "$FOLDER/out")"
done
run figure all --folder "$FOLDER/first"
check "all figures" status_is 0
check "one of each kind, in three formats" same "$(cd "$FOLDER/first/figures" && for kind in arms arms_time bars bench loss rounding sigma_bins training update_norm; do
    set -- "$kind"-*.pdf && [[ -s $1 && -s ${1%pdf}svg && -s ${1%pdf}png ]] && echo -n "$kind "
done)" "arms arms_time bars bench loss rounding sigma_bins training update_norm "
sleep 1.1 # a date in a file would differ now
for name in training-0b095889 rounding-24683ee3 bench-h100-{adm-fp16,cifar10-bf16} {arms,arms_time,bars,loss,update_norm}-quickstart curricula; do
    case $name in
    training* | rounding*) run figure "${name%%-*}" "${name#*-}" --out "$FOLDER/second/$name" ;;
    bench*) run figure bench session="${name#*-}" --out "$FOLDER/second/$name" ;;
    *-quickstart) run figure "${name%-*}" experiment=quickstart --out "$FOLDER/second/$name" ;;
    *) run figure "$name" --out "$FOLDER/second/$name" ;;
    esac
    for format in png svg pdf; do
        check "$name.$format: the same bytes again" cmp "$FOLDER/first/figures/$name.$format" "$FOLDER/second/$name.$format"
    done
done
# gnuplot's own search takes the first block whose name begins so: the curriculum "square root" for "square".
check "blocks are found by their whole names" same "$(grep -nE "index ('[A-Za-z]|word)" paper_figs/*.gp)" ""
# What ablations/README.md says of the recorded question.
run table verdict experiment=ema
for row in "1 | EMA 0.75 | 3 | +0.07731 | -0.09587 to +0.2505 | undecided" "1 | EMA 0.99 | 3 | +0.4414 | +0.3361 to +0.5467 | agrees" \
    "1 | CT schedule | 3 | +0.1417 | +0.08079 to +0.2026 | agrees" "2 | EMA 0.99 | 3 | +0.112 | -0.02104 to +0.2449 | undecided"; do
    check "verdict: $row" says "| fd-random | $row |"
done
# A question that is half done says so, also where it comes from a dump.
run table ablation experiment=noise
check "an arm that lacks two seeds" says "| lognormal (iCT) | fd-random | 1 | 0.05208 |  | 1 of 3 | 50000 |"
run figure training "$(sql "SELECT id FROM run WHERE state = 'queued' LIMIT 1")" --out "$FOLDER/none"
check "a run that has not begun has no curves" says "figure 'training' is empty"
run table verdict experiment=noise
check "a verdict that two thirds of the pairs are missing for" says "| uniform (CT) | 1 of 3 | +0.03453 |  | undecided (n = 1) | 50000 |"
# The rule that calibration/hour.yaml states, over the recorded runs of the arms that both files name.
for scale in desk hour; do
    check "scale $scale has the rate that its calibration chose" same "$(sql "
        SELECT rate FROM (SELECT p.run_id, p.arm, setting(r.config, 'train.lr') + 0 AS rate FROM run r JOIN plan p ON p.run_id = r.id
                            JOIN experiment x ON x.id = p.experiment_id
                           WHERE x.name = 'calibration_$scale' AND r.state = 'done' AND (p.arm LIKE 'iCT, %' OR p.arm LIKE 'CT, %'))
          JOIN evaluation e USING (run_id) WHERE e.nfe = 1 AND e.metric = 'fd-random'
         GROUP BY rate HAVING count(DISTINCT arm) = 2 ORDER BY sum(ln(value)) LIMIT 1")" \
        "$(awk '$1 == "lr:" { print $2 + 0 }' experiments/scales/$scale.yaml)"
done
# What README.md says of the card's speeds, and experiments/README.md of its precisions.
run table speed
for row in "this program | bf16 | 1024 | 2961.1 | 1.00 | 502.9 | 72.3 % | 11832" "PyTorch 2.11.0 torch.compile (default), NHWC | bf16 | 512 | 1223.2 | 2.42" \
    "PyTorch 2.11.0 eager, NHWC | bf16 | 512 | 623.8 | 4.51" "this program | fp16 | 256 | 499.0 | 1.00 | 437.7 | 65.7 %" \
    "PyTorch 2.11.0 torch.compile (default), NHWC | fp16 | 64 | 216.8 | 2.30" "PyTorch 2.11.0 eager, NHWC | fp16 | 96 | 105.7 | 4.72"; do
    check "speed: $row" says "| $row |"
done
run table precision
for row in "tf32 \| 0.11 .* within" "bf16 \| 0.857 .* beyond" "fp16 \| 0.123 .* within"; do
    check "precision: $row" grep -qE "^\| 24683ee3 .* \| 1281 \| $row \|$" "$FOLDER/out"
done
run table ablation experiment=cifar10_main
check "runs of a file without arms are named by their settings" says "| model.channels=128, model.blocks=4, ct.s1=1280, train.steps=640"
run table cifar10
check "a run of another network than its scale's says so" says "| ours: cifar10_main, model.channels=128, model.blocks=4, train.steps=4600, train.lr=0.0004"
run table all --folder "$FOLDER/first"
check "all tables" status_is 0
run table all --folder "$FOLDER/second"
check "and once more: the same bytes" diff -r "$FOLDER/first/tables" "$FOLDER/second/tables"
check "a table in three formats" test -s "$FOLDER/first/tables/runs.md" -a -s "$FOLDER/first/tables/runs.csv" -a -s "$FOLDER/first/tables/runs.tex"
finish
