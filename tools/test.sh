#!/bin/sh
# Runs tiers of tests, and ends with one line that counts them all: "N passed, N failed, N skipped".
# Usage: test.sh TIER... where a tier is host, models, loom, shuttle, miri, or qemu [FILTER].
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

log=$(mktemp)
trap 'rm -f "$log" "$log.status"' EXIT
broken=0

# stage NAME COMMAND...: shows the command's output and keeps it for the count. A command that fails without having
# counted a failed test, say because it did not compile, counts as one failure.
stage() {
    say "== $1"
    name=$1
    shift
    before=$(failures)
    { "$@" 2>&1 && echo 0 >"$log.status" || echo $? >"$log.status"; } | tee -a "$log"
    status=$(cat "$log.status")
    if [ "$status" != 0 ] && [ "$(failures)" = "$before" ]; then
        say "== $name failed with status $status"
        broken=$((broken + 1))
    fi
}

# Sums of the result lines of cargo's harness and of ours: passed, failed, skipped.
totals() {
    awk '
        /^test result: / { p += $4; f += $6; s += $8 }
        /^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3; s += $5 }
        END { print p + 0, f + 0, s + 0 }' "$log"
}
failures() { totals | cut -d ' ' -f 2; }

host() {
    stage "mm and smp" cargo test --no-fail-fast --quiet -p mm -p smp
    stage "bus locks of a shootdown" cargo test --no-fail-fast --quiet -p smp --features count-atomics --test atomics
    stage "workloads and records" cargo test --no-fail-fast --quiet -p workloads -p records --features records/read
    stage "recorded traffic and figures" cargo test --no-fail-fast --quiet -p trace -p figures
    stage "charts and report" cargo test --no-fail-fast --quiet -p plot -p report
    stage "QR codes, there and back" cargo test --no-fail-fast --quiet -p qr --features host
    stage "pure parts of kernel and arch" cargo test --no-fail-fast --quiet -p kernel -p arch --lib
    stage "loader and tools" cargo test --no-fail-fast --quiet -p loader -p tests --lib
    stage "writing a stick" cargo test --no-fail-fast --quiet -p tests --test usb
    # Without the peers in C and C++: they want compilers, and no test is about them.
    stage "recorder" cargo test --no-fail-fast --quiet -p recorder
    stage "bench" cargo test --no-fail-fast --quiet -p bench --no-default-features
    stage "instruction budget" tools/budget.sh
}

# A target folder of their own: a global flag would otherwise build everything else again.
loom() {
    stage "loom: smp" env RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$target_dir/loom" \
        cargo test --no-fail-fast --quiet --release -p smp --test loom_models
    stage "loom: mm" env RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$target_dir/loom" \
        cargo test --no-fail-fast --quiet --release -p mm --lib models
}

shuttle() {
    stage "shuttle" env RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR="$target_dir/shuttle" \
        cargo test --no-fail-fast --quiet --release -p smp --test shuttle_models
}

miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        say "miri: left out, there is no nightly toolchain with it here (rustup toolchain add nightly -c miri)"
        return
    fi
    stage "miri" env MIRIFLAGS="-Zmiri-disable-isolation" PROPTEST_CASES=4 cargo +nightly miri test --no-fail-fast -p mm -p smp
}

qemu() {
    stage "build" tools/build.sh build --quiet
    [ "$broken" = 0 ] || return 0
    [ -n "$1" ] || stage "machine code" cargo test --no-fail-fast --quiet -p tests --test disassembly
    # shellcheck disable=SC2086 # no filter is no argument
    stage "QEMU" cargo test --no-fail-fast --quiet -p tests --test qemu -- $1
}

[ $# -gt 0 ] || die "usage: test.sh host|models|loom|shuttle|miri|qemu [filter]"
while [ $# -gt 0 ]; do
    case $1 in
    host | loom | shuttle | miri) "$1" ;;
    models) loom && shuttle ;;
    qemu)
        qemu "${2:-}"
        [ $# = 1 ] || shift
        ;;
    *) die "no such tier of tests: $1" ;;
    esac
    shift
done

# shellcheck disable=SC2046 # three words
set -- $(totals)
failed=$(($2 + broken))
say
say "$1 passed, $failed failed, $3 skipped"
[ "$failed" = 0 ]
