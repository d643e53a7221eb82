#!/bin/sh
# Prints a serial log with the function, file and line behind every kernel address in it.
# Usage: symbolize.sh LOG
set -eu
caller=$(pwd)
cd "$(dirname "$0")/.."
. tools/lib.sh

log=${1:?usage: symbolize.sh LOG}
kernel=$target_path/$target/release/bandolier
cd "$caller"
[ -f "$log" ] || die "no such log: $log"
[ -f "$kernel" ] || die "$kernel is missing: run \`just build\`"
have addr2line || die "addr2line is missing: install the package binutils"

# Addresses of the kernel's image, in the top 2 GiB.
while IFS= read -r line || [ -n "$line" ]; do
    printf '%s\n' "$line"
    for address in $(printf '%s\n' "$line" | grep -oiE '0x(0000)?ffffffff[89a-f][0-9a-f]{7}' || true); do
        addr2line -e "$kernel" -f -C -i -p "$address" | sed "s/^/    $address /"
    done
done <"$log"
