#!/bin/sh
# Behind `just bench`, `just report` and `just bench-compare`: recordings in the build folder's bench/.
# Usage: bench.sh record COMMAND WORD... | report [FILE...] | compare A B [OPTION...] | plots | revision
# COMMAND is what makes the recording again, WORDs are for bandolier-run.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

recordings=$target_dir/bench

# The program is built first, so that a pipe that ends in it has nothing to wait for.
report() {
    cargo build --quiet --package report
    "$target_dir/debug/bandolier-report" "$@"
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
    "$target_dir/debug/bandolier-run" run "$@" </dev/null |
        (
            trap '' INT
            exec "$target_dir/debug/bandolier-report" record "$recordings" "$command"
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
revision) revision ;;
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
*) die "usage: bench.sh record COMMAND WORD... | report [FILE...] | compare A B [OPTION...] | plots | revision" ;;
esac
