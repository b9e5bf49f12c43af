#!/bin/bash
# shellcheck disable=SC1091
# A few seconds of each fuzz target with libFuzzer, where there is a clang that has it; long runs are scripts/fuzz. The seeds
# themselves are replayed everywhere, by tests/fuzz/fuzz_*.
. "$(dirname "${BASH_SOURCE[0]}")/helpers.bash"

clang=$(for c in clang clang-{21..14}; do command -v "$c" && break; done)
has_libfuzzer() {
    [[ -n $clang ]] && printf '#include <omp.h>\n%s' 'int LLVMFuzzerTestOneInput(const char *b, long n) { (void)b, (void)n; return 0; }' |
        "$clang" -xc - -fsanitize=fuzzer,address,undefined -o "$FOLDER/probe" 2>/dev/null
}
# The fuzzers bring sanitizers of their own: once is enough.
reason=
has_libfuzzer || reason="there is no clang with libFuzzer (apt-get install clang libclang-rt-dev libomp-dev)"
[[ $ICT == *-san/* ]] && reason="they run with the ordinary build"
if [[ -n $reason ]]; then
    echo "ok 1 - fuzz targets # skip $reason"
    echo "1..1"
    exit
fi

unset MAKEFLAGS MAKELEVEL MFLAGS
check "the fuzz targets are built" make -s fuzz
check "nothing breaks in a few seconds" env FUZZ_OUT="$FOLDER/fuzz" scripts/fuzz 3 2
finish
