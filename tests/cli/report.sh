#!/bin/bash
# shellcheck disable=SC1091,SC2034
# The report: one well-formed page that has every run and asks nobody for anything.
source "$(dirname "$0")/helpers.bash"

# Tags close in the order in which they opened; prints the first that does not.
tags_nest() {
    tr '\n' ' ' <"$1" | sed 's/"data:[^"]*"/""/g; s/</\n</g' | awk '
        /^<[a-zA-Z\/]/ {
            match($0, /^<\/?[a-zA-Z0-9]+/); tag = substr($0, 2, RLENGTH - 1)
            if (tag ~ /^(meta|img|br|hr)$/) next
            if (tag !~ /^\//) open[++depth] = tag
            else if (open[depth--] != substr(tag, 2)) { print "unexpected <" tag ">"; failed = 1; exit 1 }
        }
        END { if (!failed && depth) { print "open at the end: " open[depth]; exit 1 } }'
}

cat >"$FOLDER/odd.yaml" <<END
base: $PWD/experiments/quickstart.yaml
arms: { 'a <b> & "c"': { ct.teacher_ema: 0 }, other: { ct.teacher_ema: 0.9 } }
grid: { seed: [0, 1] }
END
run "$FOLDER/odd.yaml" "${TINY[@]:1}" train.steps=10
check "four runs" status_is 0
run report
check "report ends with 0" status_is 0
page=$FOLDER/report.html
check "it says where" says "$page"
for id in $(sql "SELECT id FROM run"); do
    check "run $id is there, and is linked to" test "$(grep -c "id=\"run-$id\"" "$page")" -eq 1 -a "$(grep -o "#run-$id" "$page" | wc -l)" -ge 2
done
check "its tags nest" tags_nest "$page"
check "names are escaped" grep -q 'a &lt;b&gt; &amp; &quot;c&quot;' "$page"
check "and never bare" same "$(grep -c 'a <b>' "$page")" 0
check "a picture of samples for each run" same "$(grep -o 'src="data:image/png;base64,' "$page" | wc -l)" 4
check "every picture says what it shows" same "$(grep -o '<img alt="[^"]' "$page" | wc -l)" "$(grep -o '<img ' "$page" | wc -l)"
check "nothing is fetched" same "$(grep -oE '(src|href)="[^d#][^"]{0,40}|url\([^)]*\)|@import' "$page")" ""
check "the command that runs it again" grep -qF "odd.yaml" "$page"
check "the paper's numbers" grep -qF "Unconditional CIFAR-10 in one or few steps (iCT, table 2)" "$page"
run report --out "$FOLDER/again.html"
check "the same bytes again" cmp "$page" "$FOLDER/again.html"
run report --db "$FOLDER/empty/ict.db"
check "an empty database has a report too" status_is 0
finish
