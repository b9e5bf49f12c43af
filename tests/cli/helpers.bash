# What the command-line tests share: the program, a folder of their own, and checks that speak TAP. Source it, then write
# `check NAME COMMAND...` lines and end with `finish`.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
ICT=$(realpath "${ICT:-build/ict}")
FOLDER=$(mktemp -d)
export ICT_DB=$FOLDER/ict.db
count=0 failed=0
trap 'rm -rf "$FOLDER"' EXIT

# Seconds on one core: a tiny network, no metrics. One thread, because tests share their machine.
TINY=(experiments/quickstart.yaml --scale smoke --threads 1 evaluation.metrics=[] evaluation.samples=16 train.tick=5
    train.checkpoint=10)

check() {
    local name=$1
    shift
    count=$((count + 1))
    if "$@" >"$FOLDER/check.out" 2>&1; then
        echo "ok - $name"
    else
        failed=$((failed + 1))
        echo "not ok - $name"
        sed 's/^/# /' "$FOLDER/check.out"
        [[ -f $FOLDER/out ]] && tail -n 30 "$FOLDER/out" | sed 's/^/# | /'
    fi
}

# run WORDS...: the program, with output in $FOLDER/out and its exit status in $status
run() {
    "$ICT" "$@" >"$FOLDER/out" 2>&1
    status=$?
}

status_is() { ((status == $1)) || { echo "exit status $status, not $1"; return 1; }; }
says() { grep -qF -- "$1" "$FOLDER/out" || { echo "does not say: $1"; return 1; }; }
says_not() { ! grep -qF -- "$1" "$FOLDER/out" || { echo "says: $1"; return 1; }; }
same() { [[ "$1" == "$2" ]] || { printf '%s\n  differs from\n%s\n' "$1" "$2"; return 1; }; }

sql() { "$ICT" export --sql "$1" | tail -n +2; }
state_is() { same "$(sql "SELECT state FROM run")" "$1"; }

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
    local tries=$(($1 * 20))
    shift
    while ! "$@" >/dev/null 2>&1; do
        ((tries-- > 0)) || { echo "waited in vain for: $*"; return 1; }
        sleep 0.05
    done
}
log_says() { grep -q -- "$1" "$FOLDER"/runs/*/log.txt; }

# What a run leaves, without what clocks say.
weights_of() { sha256sum <"$(ls "$1"/runs/*/checkpoint-"$2".safetensors)"; }
metrics_of() {
    ICT_DB=$1/ict.db sql "SELECT run_id, step, images, name, value FROM metric WHERE name <> 'images_per_second' \
        ORDER BY run_id, step, name"
}

finish() {
    echo "1..$count"
    exit $((failed > 0))
}
