#!/bin/sh
# Behind `just bench`, `just bench-native`, `just report`, `just bench-compare` and `just qr-decode`.
# Usage: bench.sh record COMMAND WORD... | native [OPTION...] | report [FILE...] | compare A B [OPTION...] | qr FILE... | plots
# COMMAND is what makes the recording again, WORDs are for bandolier-run.
#
# One rule for paths: what a caller names is relative to the folder that they stand in; what nobody names goes to target/bench
# of the sources, wherever cargo builds. Recordings are no product of a build, and every text about them names that folder.
set -eu
caller=$(pwd)
cd "$(dirname "$0")/.."
. tools/lib.sh

recordings=target/bench
[ "$caller" = "$(pwd)" ] || recordings=$(pwd)/$recordings

# A program is built here, first, so that a pipe that ends in it has nothing to wait for. Then it runs where the caller stands.
for_caller() {
    program=$target_path/$1
    shift
    cd "$caller"
    exec "$program" "$@"
}

report() {
    cargo build --quiet --package report
    for_caller debug/bandolier-report "$@"
}

# mm on this host, with what it is built from. NDEBUG: peers in C++ as they ship.
native() {
    BANDOLIER_REVISION=$(revision)
    CXXFLAGS="-DNDEBUG ${CXXFLAGS:-}"
    export BANDOLIER_REVISION CXXFLAGS
    cargo build --quiet --release --package bench
    for_caller release/bandolier-bench "$@"
}

# `--out` of the caller comes later, and wins.
qr() {
    cargo build --quiet --package qr --features host --bin qr-decode
    for_caller debug/qr-decode --out "$recordings" "$@"
}

# What the sources are, where git knows.
revision() { git describe --always --dirty --exclude '*' --abbrev=12 2>/dev/null || true; }

# A pipe has the status of its last command, which knows from the records whether the run ended well.
record() {
    command=$1
    shift
    BANDOLIER_REVISION=$(revision)
    export BANDOLIER_REVISION
    cargo build --quiet --package report --package tests --bins
    # Ctrl-C ends the machine; what came until then is kept, and the recording says that it was cut off.
    trap : INT
    "$target_path/debug/bandolier-run" run "$@" </dev/null |
        (
            trap '' INT
            exec "$target_path/debug/bandolier-report" record "$recordings" "$command"
        )
}

# The first of several is that of the first recording.
copy_plot() {
    for plot in "$recordings"/report.plots/$1.svg; do
        [ -e "$plot" ] || die "the last report has no plot $1: \`just bench\`, \`just bench-native --json $recordings/native.jsonl\`, \`just report\`"
        cp "$plot" "docs/plots/$2.svg"
        return
    done
}

# The README's.
plots() {
    mkdir -p docs/plots
    copy_plot '*-kernel-pair64' kernel-pair64
    copy_plot '*-native-overview-1-cpu' native-overview
}

case ${1:-} in
native)
    shift
    native "$@"
    ;;
qr)
    shift
    qr "$@"
    ;;
record)
    shift
    record "$@"
    ;;
compare)
    shift
    report compare "$@"
    ;;
report)
    shift
    if [ $# = 0 ]; then
        set -- "$recordings"/*.jsonl
        [ -e "$1" ] || die "there is no recording in $recordings: \`just bench\` makes one, and so does
       \`just bench-native --json $recordings/native.jsonl\`"
        set -- "$recordings"
    fi
    mkdir -p "$recordings"
    report page "$recordings/report.html" "$@"
    ;;
plots) plots ;;
*) die "usage: bench.sh record COMMAND WORD... | native [OPTION...] | report [FILE...] | compare A B [OPTION...] | qr FILE... | plots" ;;
esac
