#!/bin/sh
# Builds the kernel and the loader for the bare machine; further arguments go to cargo (doc, clippy: see the first).
# Usage: build.sh [build|doc] [cargo arguments]
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

# What `bench` says it was built from. Where there is no git, nothing is known.
BANDOLIER_REVISION=$(git describe --always --dirty --exclude '*' --abbrev=12 2>/dev/null || true)
export BANDOLIER_REVISION

verb=${1:-build}
[ $# = 0 ] || shift
if target_installed; then
    exec cargo "$verb" --release --target "$target" -p kernel --bin bandolier -p loader --bin loader "$@"
fi
sources_installed || die "there is neither a Rust target $target nor a way to build it: run \`just setup\`"
# Unstable options of cargo, which the environment allows for this one command; the kernel itself uses none.
export RUSTC="$STD_RUSTC" RUSTC_BOOTSTRAP=1 CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER="$STD_LINKER"
export __CARGO_TESTS_ONLY_SRC_ROOT="$STD_SOURCES/library"
exec cargo "$verb" --release --target "$target" -p kernel --bin bandolier -p loader --bin loader \
    -Zbuild-std=core,alloc,compiler_builtins -Zbuild-std-features=compiler-builtins-mem "$@"
