#!/bin/sh
# Checks format and lints; every warning is an error.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

cargo fmt --all --check
cargo clippy --quiet --all-targets -p mm -p smp -p workloads -p records --features records/read -p plot -p report \
    -p trace -p figures -p qr --features qr/host -p tests -- -D warnings
# Without the peers in C and C++, which want compilers for these.
cargo clippy --quiet --all-targets -p bench --no-default-features -- -D warnings
cargo clippy --quiet --all-targets -p recorder -- -D warnings
cargo clippy --quiet --lib --tests -p arch -p kernel -p loader -- -D warnings
if target_installed; then
    cargo clippy --quiet --release --target "$target" -p kernel --bin bandolier -p loader --bin loader -- -D warnings
else
    say "lint: the two programs for the bare machine are left out, $target is not installed"
fi
if have shellcheck; then
    shellcheck -x tools/*.sh .ci/run
else
    say "lint: shell scripts are left out, shellcheck is not here"
fi
say "lint: clean"
