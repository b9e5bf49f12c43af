#!/bin/bash
# shellcheck disable=SC1091,SC2034
# Classes from the data set to the picture, and sampling in any number of steps: a class-conditional run on built-in shapes,
# its evaluations, and pictures of chosen classes with chosen noise levels.
source "$(dirname "$0")/helpers.bash"

SMALL=(experiments/quickstart.yaml --scale smoke --threads 1 evaluation.samples=512 evaluation.grid=0
    train.steps=40 train.lr=0.01 evaluation.at=[1] data.count=1024)

run data ls shapes
check "data ls NAME counts a set's classes" says "shapes: 10000 images of 10 classes, 1000 each"

run "${SMALL[@]}" model.class_conditional=true model.label_dropout=0.1 "evaluation.nfe=[1, 2, 3]" "evaluation.sigmas=[5, 0.4]"
check "a class-conditional run trains and evaluates in one, two and three steps" status_is 0
check "each number of steps has its row" same "$(sql "SELECT group_concat(nfe) FROM (SELECT DISTINCT nfe FROM evaluation ORDER BY nfe)")" '"0,1,2,3"'
id=$(sql "SELECT id FROM run")

# picture NAME WORDS...: samples into $FOLDER/NAME
picture() {
    local name=$1
    shift
    run sample "$id" --threads 1 --out "$FOLDER/$name" "$@"
}
image() { sha256sum "$FOLDER/$1/seed-00000$2.png" | cut -c1-64 | grep . || echo "no picture $1 $2"; }
differ() { [[ "$1" != "$2" ]] || { echo "they are equal"; return 1; }; }

picture all --seeds 0-9
check "all classes in turn by default" status_is 0
picture three --seeds 0-9 --labels 3
check "one class" status_is 0
check "the image of a seed and a class is the same however it was asked for" same "$(image all 3)" "$(image three 3)"
check "and another for another class" differ "$(image all 4)" "$(image three 4)"
picture list --seeds 0-9 --labels 0,3-5
check "a list goes in turn" same "$(image list 5)" "$(image three 5)"
picture list --labels 7-10
check "a class that is not there is refused" says "'7-10' is beyond the network's classes 0 ... 9"
check "as a mistake in the command" status_is 2
picture list --labels x
check "no class at all is refused" says "'x' is neither a class nor a range"

picture levels --seeds 0-3 --sigmas 5,0.4
picture steps --seeds 0-3 --nfe 3
check "three steps take the configuration's levels" same "$(image levels 2)" "$(image steps 2)"
picture other --seeds 0-3 --sigmas 5,0.3
check "other levels, another image" differ "$(image levels 2)" "$(image other 2)"
picture many --seeds 0-3 --nfe 5
check "any number of steps" status_is 0
picture wrong --sigmas 0.4,5
check "levels must decrease" says "--sigmas: 5 is not between 0.002 and 0.4"
picture wrong --sigmas 5,0.4 --nfe 2
check "and fit the number of steps" says "--sigmas: 2 levels are for 3 steps, but --nfe is 2"
picture wrong --sigmas 5,
check "and be numbers" says "'5,' is not a list"

run "${SMALL[@]}" evaluation.metrics=[]
id=$(sql "SELECT id FROM run WHERE config NOT LIKE '%class_conditional: true%'")
picture plain --labels 3
check "a network without classes takes none" says "the network does not see classes"
run "${SMALL[@]}" model.label_dropout=0.1
check "nor has it any to hide" says "model.label_dropout: a network without classes has none to hide"
finish
