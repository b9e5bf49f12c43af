# How faults are made and what must survive them, for ../faults.sh. Each row of its table runs in a subshell, in a folder of its
# own (HERE), so that folders, variables and limits are its own too.
TOOLS=$FOLDER/tools PROGRAM=$ICT ROOT=$PWD
EXPERIMENT=$PWD/experiments/quickstart.yaml GOLDEN=$PWD/tests/golden
ANY=("$EXPERIMENT" --scale smoke --threads 1 "evaluation.metrics=[]" evaluation.samples=4 evaluation.grid=4 "evaluation.at=[1]")
SMALL=("${ANY[@]}" data.count=64 train.tick=5 train.checkpoint=5)

mkdir "$TOOLS"
${CC:-cc} -O1 -pthread tests/cli/faults/obstruct.c -o "$TOOLS/obstruct" || exit
${CC:-cc} -O1 -shared -fPIC tests/cli/faults/pretend.c -o "$TOOLS/pretend.so" || exit
obstruct() { "$TOOLS/obstruct" "$@"; }
obstruct -b "$FOLDER" true 2>/dev/null || UNWATCHED="the kernel does not let processes watch system calls"
[[ $(realpath "$ICT") != *-san/* ]] || SANITIZED="sanitizers need the whole address space"
unless() { [[ -z $1 ]] || { echo "$1" >"$FOLDER/made" && exit 77; }; }

# ---- where it happens: an empty folder, or one with a finished run ----

fresh() { HERE=$(mktemp -d "$FOLDER/here.XXXXXX") && cd "$HERE" && export ICT_DB=$HERE/ict.db ICT_DATA=$HERE/data; }
whole() { fresh && cp -r "$FOLDER/whole/." . && cd "$HERE"; }
go() { COMMAND=("${SMALL[@]}" train.steps=10 "$@") REFERENCE=$FOLDER/whole && run "${COMMAND[@]}"; }
go_set() { run "${ANY[@]}" data.name=set data.count=0 train.steps=4 "$@"; }
# Two runs, of which the first diverges after some steps.
go_far() { run "${ANY[@]}" data.count=64 train.tick=1 train.checkpoint=1 train.steps=12 train.lr=10,1e-4; }
# A longer run in the background until its log says TEXT; `await` waits for its end.
start() {
    COMMAND=("${SMALL[@]}" train.steps=120) REFERENCE=$FOLDER/long
    "$ICT" "${COMMAND[@]}" >>"$FOLDER/out" 2>&1 &
    PARENT=$!
    wait_for 60 log_has "$1"
}
log_has() { grep -q -- "$1" "$HERE"/runs/*/log.txt; }
await() { { wait "$PARENT"; status=$?; } 2>/dev/null; }
worker() { sql "SELECT pid FROM run"; }
gone() { ! kill -0 "$1" 2>/dev/null; }
# The program once more; what it says is added to what was said.
also() {
    "$ICT" "$@" >>"$FOLDER/out" 2>&1
    status=$?
}
# The program with a wall clock that is off by so many seconds, or on a network; its children inherit that.
cat >"$TOOLS/pretending" <<EOF
#!/bin/bash
ASAN_OPTIONS="\${ASAN_OPTIONS:-}:verify_asan_link_order=0" LD_PRELOAD="$TOOLS/pretend.so" exec "$PROGRAM" "\$@"
EOF
chmod +x "$TOOLS/pretending"
off_by() { export PRETEND_CLOCK=$FOLDER/clock && echo "$1" >"$PRETEND_CLOCK" && ICT=$TOOLS/pretending; }
on_nfs() { export PRETEND_SYSTEM=0x6969 && ICT=$TOOLS/pretending; }
# The same command while the first still goes on; its status counts. With `and_both`, the first one's.
meanwhile() { also "${COMMAND[@]}" "$@" && : ; local mine=$status; await; FIRST=$status status=$mine; }
and_both() { status=$FIRST; }
limited() { # WHAT HOW-MUCH WORDS...: with a limit of ulimit
    (ulimit "$1" "$2" && exec "$ICT" "${@:3}") >"$FOLDER/out" 2>&1
    status=$?
}

# ---- disks ----

obstructed() { # WAY FOLDER WORDS...: no write below the folder succeeds
    unless "${UNWATCHED:-}"
    obstruct -b "$2" -e "$1" "$ICT" "${@:3}" 2>&1 | cat >"$FOLDER/out"
    status=${PIPESTATUS[0]}
}
to_full() {
    "$ICT" "$@" 2>"$FOLDER/out" >/dev/full
    status=$?
}
# A reader that has seen enough after one line.
to_head() {
    "$ICT" "$@" 2>&1 | head -n 1 >"$FOLDER/out"
    status=${PIPESTATUS[0]}
}
idle() { [[ $(sql "SELECT state FROM run") != running ]]; }
# The worker is killed behind its last checkpoint.
undone() {
    unless "${UNWATCHED:-}"
    COMMAND=("${SMALL[@]}" train.steps=10)
    fresh && obstruct -b . -e KILL -s "open runs/$(sed -E 's/[0-9]+/#/g' <<<"$ID")-quickstart/samples-#.png.#-#.tmp" "$ICT" "${COMMAND[@]}"
    value "SELECT state FROM run" interrupted
}

# ---- damage ----

cut_to() { truncate -s "$1" "$2"; }
# Turns all bits over of some bytes in the middle of a file.
spoil() {
    local middle=$(($(stat -c %s "$1") / 2))
    dd if="$1" bs=1 skip=$middle count=64 status=none | LC_ALL=C tr '\000-\377' "$(printf '\\%03o' {255..0})" >spoilt
    dd if=spoilt of="$1" bs=1 seek=$middle conv=notrunc status=none && rm spoilt
}
spoil_pages() { head -c 12288 /dev/zero | tr '\0' '\377' | dd of="$1" bs=4096 seek=1 conv=notrunc status=none; }
newest() { ls -t runs/*/checkpoint-"$1".safetensors; }
images() { run sample "$(sql "SELECT id FROM run")" --threads 1 --seeds 0-3 --out "$1" && rm "$1/grid.png"; }
zipped() { whole && images given && (cd given && zip_make ../a.zip ./*.png); }
# A stored data set "set" of four pictures; another one of its name.
stored() { whole && images given && run data import set given; }
exchanged() { rm -r data given/*2.png && run data import set given; }
# N lowest bytes of a number, and with them a zip of stored files, whose checksums gzip knows.
little() { for ((; $2 > i; i++)); do printf '%b' "\\x$(printf %02x $((($1 >> 8 * i) & 255)))"; done; }
bytes_of() { local i=0 && little "$@"; }
zip_make() {
    local out=$1 file size offset=0 count=0
    : >"$out" && : >central
    for file in "${@:2}"; do
        size=$(stat -c %s "$file") count=$((count + 1))
        {
            printf '\x14\0\0\0\0\0\0\0\x21\0' && gzip -c "$file" | tail -c 8 | head -c 4
            bytes_of "$size" 4 && bytes_of "$size" 4 && bytes_of ${#file} 2 && printf '\0\0'
        } >head
        { printf 'PK\x01\x02\x14\0' && cat head && printf '\0\0\0\0\0\0\0\0\0\0' && bytes_of $offset 4 && printf %s "$file"; } >>central
        { printf 'PK\x03\x04' && cat head && printf %s "$file" && cat "$file"; } >>"$out"
        offset=$(stat -c %s "$out")
    done
    {
        cat central && printf 'PK\x05\x06\0\0\0\0' && bytes_of $count 2 && bytes_of $count 2
        bytes_of "$(stat -c %s central)" 4 && bytes_of "$offset" 4 && printf '\0\0'
    } >>"$out"
    rm head central
}
jpeg_make() {
    base64 -d >"$1" <<<"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8
ybqmx5moq6T/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABYQAAMAAAAAAAAAAAAAAAAAAAAFQv/aAAgBAQAAPwAEMn//2Q=="
}
# An .npy of float32: one number, given by its four bytes, repeated. npy_make FILE COUNT SHAPE BYTES
npy_make() {
    local i head="{'descr': '<f4', 'fortran_order': False, 'shape': ($3,), }"
    { printf '\x93NUMPY\x01\0' && bytes_of ${#head} 2 && printf %s "$head" && for ((i = 0; i < $2; i++)); do printf "$4"; done; } >"$1"
}
# What `apply` reads: two pictures x with their noise levels.
npz_input() { npy_make x.npy 1536 "2, 3, 16, 16" '\0\0\0\x3f' && npy_make sigma.npy 2 2 '\0\0\x80\x3f' && zip_make "$1" x.npy sigma.npy && rm ./*.npy; }
apply_to() { # INPUT [WEIGHTS [key=value...]]
    { echo "base: $EXPERIMENT" && sed '/^notes:/,/^$/d' "$ROOT/experiments/scales/smoke.yaml"; } >network.yaml
    run apply network.yaml -i "$1" -o out.npz --threads 1 --weights "${2:-$(newest 10)}" "${@:3}"
}
# A locale with a decimal comma.
comma_locale() {
    sed 's/^decimal_point.*/decimal_point ","/' /usr/share/i18n/locales/POSIX >comma 2>/dev/null &&
        localedef -c -i ./comma -f ANSI_X3.4-1968 "$HERE/de_DE" >/dev/null 2>&1
    [[ $(LOCPATH=$HERE LC_ALL=de_DE bash -c "printf %.1f 1,5" 2>/dev/null) == 1,5 ]] || unless "no locale can be made here"
    export LOCPATH=$HERE LC_ALL=de_DE
}
# The program in a checkout under another name.
checkout() {
    mkdir -p "$1/build" && ln -s "$ROOT"/{core,experiments,paper_figs,results} "$1" && cp -L "$ICT" "$1/build/ict"
    ICT=$HERE/$1/build/ict
}

on_terminal() { # COLUMNS WORDS...
    command -v script >/dev/null || unless "script(1) is not installed"
    script -qec "stty cols $1; $(printf '%q ' "$ICT" "${@:2}")" /dev/null >"$FOLDER/out" </dev/null
    status=$?
}
many() { go seed=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17 --max-wall 0.001s; }
first_shared() { sql "SELECT substr(id, 1, 1) FROM run GROUP BY 1 HAVING count(*) > 1 LIMIT 1"; }

# ---- what must survive ----

# Files and numbers that commands have left, without what clocks say.
left() {
    (cd "$1" && find . -type f ! -name '*.db*' ! -name log.txt ! -name lock ! -name 'training.*' ! -name '*.pdf' \
        -exec sha256sum {} + | sort -k 2)
    [[ ! -e $1/ict.db ]] || ICT_DB=$1/ict.db sql "SELECT run_id, step, name, value FROM metric WHERE name <> 'images_per_second'
        UNION ALL SELECT run_id, step, kind, sha256 FROM artifact WHERE kind <> 'figure'
        UNION ALL SELECT run_id, step, metric || ' ' || weights || nfe, value FROM evaluation
        UNION ALL SELECT id, 0, 'state', state FROM run ORDER BY 1, 2, 3"
}
# Weights, pictures and metrics are those of a run that nothing happened to ...
unharmed() { same "$(left "$HERE")" "$(left "$REFERENCE")"; }
# ... after the same command once more.
same_bits() {
    ICT=$PROGRAM run "${COMMAND[@]}" --retry
    status_is 0 && unharmed
}
keep() { sha256sum <"$1" >"$FOLDER/kept"; }
kept() { same "$(sha256sum <"${1:-away.db}")" "$(cat "$FOLDER/kept")"; }
# The database has been moved away: the same command makes a new one and goes on from the checkpoints.
goes_on_without() { mv "$1" away.db && rm -f "$1"-* && run "${COMMAND[@]}" && status_is 0 && same "$(weights)" "$(cd "$REFERENCE" && weights)" && kept; }
weights() { sha256sum <"$(newest 10)"; }
# So many checkpoints were set aside, and what came of it is what comes of none.
aside() { same "$(ls runs/*/*.damaged | wc -l)" "$1" && rm runs/*/*.damaged && unharmed; }
# The last checkpoint of a run that diverged can be read; what it draws may be sound or not.
readable() {
    run sample "$(sql "SELECT id FROM run WHERE state = 'diverged'")" --weights raw --seeds 0 --threads 1 --out s
    { status_is 0 && test -s s/grid.png; } || says "the network's weights are not sound"
}
narrow() { same "$(tr '\r' '\n' <"$FOLDER/out" | sed 's/\x1b\[K//' | grep -a '^step ' | awk -v most="$1" 'length($0) >= most')" ""; }
points() { ! grep -E '[0-9],[0-9]' figures/*.tsv runs/*/training.tsv; }
no() { [[ ! -e $1 ]] || { echo "$1 is there"; return 1; }; }
states() { same "$(sql "SELECT state FROM run ORDER BY seed, started" | paste -sd' ')" "$*"; }
value() { same "$(sql "$1")" "$2"; }
nothing_started() { no ict.db && no runs; }

# ---- rows ----

# One message at most from the program and one from its child.
holds() { # STATUS "WORDS;WORDS" SURVIVES...
    local word words
    status_is "$1" || return
    IFS=';' read -ra words <<<"$2"
    for word in "${words[@]}"; do says "$word" || return; done
    (($(grep '^error: ' "$FOLDER/out" | sort -u | wc -l) <= 2)) || { echo "more than one message" && return 1; }
    "${@:3}"
}
trimmed() { sed -E 's/^[ \t]+//; s/[ \t]+$//' <<<"$1"; }
row_end() { # NAME CODE REPORT
    count=$((count + 1))
    case $2 in
    0) echo "ok - $1" ;;
    77) echo "ok - $1 # skip $(cat "$FOLDER/made")" ;;
    *)
        failed=$((failed + 1)) && echo "not ok - $1"
        { echo "$3" && tail -n 5 "$FOLDER/made" && tail -n 30 "$FOLDER/out"; } | sed 's/^/# /'
        ;;
    esac
}
# Reads the table, a row a line. How a fault is made and what must survive are commands; they run in a subshell.
table() {
    local cells words report code
    while IFS='|' read -ra cells; do
        [[ ${cells[0]:-} =~ ^[[:space:]]*(#.*)?$ ]] && continue
        words=$(trimmed "${cells[3]}")
        report=$(
            status="" && : >"$FOLDER/out"
            eval "${cells[1]}" >"$FOLDER/made" 2>&1
            eval "holds ${cells[2]} \"\$words\" ${cells[4]:-}" 2>&1
        )
        code=$?
        row_end "$(trimmed "${cells[0]}")" $code "$report"
        rm -rf "$FOLDER"/here.*
    done
}

# ---- every write ----

# Which of N writes at a site fail: all, or the first and the last, and of a database's many one between them.
writes_chosen() { # N SITE
    if [[ ${FAULTS:-} == all ]]; then
        seq "$1"
    else
        echo 1
        (($1 == 1)) || echo "$1"
        [[ $2 != *.db-wal ]] || echo $(($1 / 2 + 1))
    fi
}
# In which ways: full, or killed where a file is about to get its name; see faults.sh for all.
ways_chosen() { # SITE
    if [[ ${FAULTS:-} == all ]]; then
        printf '%s\n' ENOSPC EROFS EIO KILL "ENOSPC -o" "EIO -o"
    else
        echo ENOSPC
        [[ ! $1 =~ ^(fsync|rename)\ runs/ ]] || echo KILL
    fi
}

# In a copy of TEMPLATE the N-th write at SITE fails (and with it all later ones, unless the way says -o). The command ends with
# a status of its own and names file and reason, or does its work all the same; again, it does its work as if nothing had been.
write_fails() { # WAY N SITE
    local way=$1 n=$2 site=$3 again=() code name=${3#* }
    name=${name##*/}
    cp -r "$TEMPLATE" "$HERE" && cd "$HERE" || return
    export ICT_DB=$HERE/ict.db ICT_DATA=$HERE/data
    # shellcheck disable=SC2086
    obstruct -b "${BELOW:-.}" -s "$site" -n "$n" -e $way "${COMMAND[@]}" >"$HERE.out" 2>&1
    code=$?
    [[ ${COMMAND[1]} != *.yaml ]] || again=(--retry)
    if [[ $way == KILL ]]; then
        find . -name '*.tmp' ! -path './runs/*' -delete # harmless; only a run's folder has somebody to remove them
    elif ((code > 2 && code != 75)); then
        echo "exit status $code"
    elif ((code != 0)); then
        grep -E "^error: .*(No space|is full|Read-only|readonly|unable to open|Input/output|I/O error)" "$HERE.out" |
            grep -F -- "${name%%[#.]*}" | grep -qF "(" || echo "does not say why, where and what to do"
    fi
    ((code == 0)) || "${COMMAND[@]}" "${again[@]}" >>"$HERE.out" 2>&1 || echo "again: exit status $?"
    diff <(echo "$EXPECTED") <(left "$HERE") || echo "is what it leaves (exit status $code)"
}

write_judge() {
    local report
    HERE=$FOLDER/write.$BASHPID
    report=$(write_fails "$@" 2>&1)
    rm -rf "$HERE" "$HERE.out"
    [[ -z $report ]] || printf '%s, %d of "%s": %s\n' "$1" "$2" "$3" "$report" >"$FOLDER/problem.$BASHPID"
    : >"$FOLDER/failed.$BASHPID"
}

# every_write COMMAND...: every write below HERE, from the state that HERE has. Leaves what went wrong in `out`, and how many
# times it did in `status`. With `below FOLDER` before it only writes there: how commands open the database need be seen once.
# With `one_in N` before it only so many of the writes, unless FAULTS=all: many tables are written alike.
below() { BELOW=$1 && mkdir -p "$1"; }
one_in() { [[ ${FAULTS:-} == all ]] || ONE_IN=$1; }
every_write() {
    local sites=$FOLDER/sites n way count site case=0
    COMMAND=("$@") TEMPLATE=$FOLDER/template
    unless "${UNWATCHED:-}"
    cp -r "$HERE" "$TEMPLATE" && : >"$sites"
    obstruct -b "${BELOW:-.}" -l "$sites" "${COMMAND[@]}" >"$FOLDER/out" 2>&1 || return
    EXPECTED=$(left "$HERE")
    sort "$sites" | uniq -c >"$sites.counted"
    while read -r count site; do
        while read -r way; do
            for n in $(writes_chosen "$count" "$site" | sort -nu); do
                ((case++ % ${ONE_IN:-1} == 0)) || continue
                (write_judge "$way" "$n" "$site") &
                (($(jobs -rp | wc -l) < $(nproc))) || wait -n
            done
        done < <(ways_chosen "$site")
    done <"$sites.counted"
    wait
    status=$(find "$FOLDER" -name 'problem.*' | wc -l)
    find "$FOLDER" -name 'problem.*' -exec cat {} + >"$FOLDER/out"
    echo "$(find "$FOLDER" -name 'failed.*' | wc -l) writes failed, one at a time" >>"$FOLDER/out"
    rm -rf "$TEMPLATE" "$FOLDER"/{problem,failed}.*
}
