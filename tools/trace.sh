#!/bin/sh
# Builds the recorder and runs it in the caller's folder; arguments go to it as they are.
# Usage: trace.sh record OUT [--] COMMAND... | trace.sh info FILE [options]
set -eu
caller=$(pwd)
cd "$(dirname "$0")/.."
. tools/lib.sh
root=$(pwd)
program=$target_path/release/bandolier-trace

have cc || die "gcc is needed to link the recorder: package gcc"
# Before anything is recorded: the build is no part of it.
cargo build --quiet --release --package recorder --bin bandolier-trace
cd "$caller"
if [ "${1:-}" = record ] && [ "$(id -u)" != 0 ]; then
    shift
    say "recording the kernel's events needs root; the program is built, and this runs it:" >&2
    words=
    # Word by word, as a shell takes them.
    for word in "$@"; do
        case $word in
        '' | *[!A-Za-z0-9_+,./:@%=-]*) word="'$(printf %s "$word" | sed "s/'/'\\\\''/g")'" ;;
        esac
        words="$words $word"
    done
    say "  sudo $program record$words" >&2
    exit 125
fi
if [ "${1:-}" = info ]; then
    # The plot goes to bench/ in there, as everything that is made of recordings (see bench.sh), wherever cargo builds. Not
    # while recording: the command may be a build of its own.
    export CARGO_TARGET_DIR="$root/target"
fi
exec "$program" "$@"
