#!/bin/sh
# Fetches Limine's binary release into .limine, for the recipes that boot by image. The network must allow git.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

dir=${LIMINE_DIR:-.limine}
branch=${LIMINE_BRANCH:-v8.x-binary}
source=${LIMINE_SOURCE:-https://github.com/limine-bootloader/limine.git}
if [ -f "$dir/limine-bios.sys" ]; then
    say "Limine is here already: $dir"
    exit 0
fi
have git || die "git is not here; or unpack a binary release of Limine into $dir by hand"
say "fetching Limine ($branch) into $dir"
GIT_TERMINAL_PROMPT=0 timeout 120 git clone --quiet --depth 1 --branch "$branch" "$source" "$dir" </dev/null ||
    die "could not fetch $source.
       Where the network does not allow it, unpack a binary release of Limine (8.2 or newer) elsewhere and set
       LIMINE_DIR to its folder. The direct boot (boot=direct, the default) needs no Limine."
