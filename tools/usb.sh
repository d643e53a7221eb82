#!/bin/sh
# Writes the image that `just image` made to a USB stick; asks first. As root where the device is not one's own.
# Usage: usb.sh DEVICE [even-if-not-removable]
set -eu
caller=$(pwd)
cd "$(dirname "$0")/.."
. tools/lib.sh

have lsblk || die "lsblk is not here: package util-linux"
case $1 in
/*) device=$1 ;;
*) device=$caller/$1 ;;
esac
image=$target_dir/bandolier-stick.iso
[ -f "$image" ] || die "$image is not here: run \`just image\`"
cargo build --quiet --package tests --bin bandolier-run
runner=$target_dir/debug/bandolier-run
shift
if [ -b "$device" ] && [ ! -w "$device" ] && have sudo; then
    exec sudo "$runner" usb "$device" "$image" "$@"
fi
exec "$runner" usb "$device" "$image" "$@"
