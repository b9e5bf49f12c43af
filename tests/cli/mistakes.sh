#!/bin/bash
# shellcheck disable=SC1091,SC2034
# Mistakes are told with their place and the nearest name, all at once, before anything starts.
source "$(dirname "$0")/helpers.bash"
cat >"$FOLDER/wrong.yaml" <<'END'
base: BASE
train:
  bacth: 64
  steps: many
ct:
  s0: 10
END
sed -i "s|BASE|$PWD/experiments/quickstart.yaml|" "$FOLDER/wrong.yaml"

run "$FOLDER/wrong.yaml" --scale smoke
check "a misspelt key ends with 2" status_is 2
check "with file, line and column" says "wrong.yaml:3:3"
check "and the nearest name" says "train.batch"
check "a wrong value is told in the same breath" says "wrong.yaml:4:"
check "nothing was started" test ! -e "$ICT_DB" -a ! -e "$FOLDER/runs"

run "${TINY[@]}" train.stpes=10
check "a misspelt override ends with 2" status_is 2
check "with the nearest name" says "train.steps"
run "${TINY[@]}" --reetry
check "a misspelt option ends with 2" status_is 2
check "with the nearest option" says "--retry"
run smaple abc
check "a misspelt command ends with 2" status_is 2
check "with the nearest command" says "sample"
run nowhere.yaml
check "a missing file ends with 2" status_is 2
check "and is named" says "nowhere.yaml"
run "${TINY[@]}" --max-wall soon
check "a wrong duration ends with 2" status_is 2
run "${TINY[@]}" data.name=not-there
check "a missing data set ends with 2" status_is 2
check "and the message says how to import it" says "data import"
run doctor
if says "built without CUDA" >/dev/null; then
    run "${TINY[@]}" --device cuda
    check "a card that this build cannot use ends with 2" status_is 2
    check "and the message says how to build for it" says "CUDA=1 in the environment"
    run sample abc --device cuda:1x
    check "a device that is none ends with 2" status_is 2
    rm -rf "$FOLDER/runs"
elif says "no NVIDIA driver" >/dev/null; then
    run "${TINY[@]}" --device cuda
    check "a card that has no driver ends with 2" status_is 2
    check "and the message says so" says "no NVIDIA driver is loaded; install it"
    rm -rf "$FOLDER/runs"
fi
check "still nothing was started" test ! -e "$FOLDER/runs"

echo "this is not a database, only text that is long enough to look at" >"$FOLDER/broken.db"
run ls --db "$FOLDER/broken.db"
check "a damaged database ends with 2" status_is 2
check "and is named" says "broken.db"
check "with the remedy" says ".recover"
finish
