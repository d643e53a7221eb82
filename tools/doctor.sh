#!/bin/sh
# Prints what is here, what is missing and what each thing is for. Exits 0 if all that is required is here.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

missing=0
row() { printf '%-9s %-12s %-38s %s\n' "$1" "$2" "$3" "$4"; }

# check LEVEL NAME WHAT-IS-HERE PURPOSE REMEDY: an empty third argument means that it is missing.
check() {
    if [ -n "$3" ]; then
        row ok "$2" "$3" "$4"
    elif [ "$1" = required ]; then
        missing=$((missing + 1))
        row MISSING "$2" "$5" "$4"
    else
        row optional "$2" "$5" "$4"
    fi
}

first_line() { "$@" 2>/dev/null | head -n 1 | cut -c 1-38; }

target_state() {
    if target_installed; then
        echo "from rustup"
    elif sources_installed; then
        echo "built from ${STD_SOURCES:-}"
    fi
}

kvm_state() {
    for module in kvm_intel kvm_amd; do
        if [ -d /sys/module/$module ] && [ -w /dev/kvm ]; then echo "$module"; fi
    done
}

tracefs_state() {
    awk '$3 == "tracefs" { print $2; exit }' /proc/mounts 2>/dev/null
}

limine=${LIMINE_DIR:-.limine}
row state what "here, or how to get it" "what for"
check required rustc "$(first_line rustc --version)" "builds everything" "install stable Rust with rustup"
check required target "$(target_state)" "core and alloc of the kernel" "just setup"
check required cc "$(first_line cc --version)" "links the host's programs" "package gcc"
check required qemu "$(first_line "$qemu" --version | sed 's/ emulator version//; s/ (.*//')" "runs the kernel" "just setup"
check required xorriso "$(first_line xorriso --version)" "makes boot images" "just setup"
check optional limine "$([ -f "$limine/limine-bios.sys" ] && echo "$limine")" "boot=iso, boot=uefi, just iso, just image" "just limine, or set LIMINE_DIR"
check optional ovmf "$(ovmf_file)" "boot=uefi" "package ovmf, or set OVMF"
check optional lsblk "$(first_line lsblk --version)" "just usb" "package util-linux"
check optional kvm "$(kvm_state)" "runs at full speed" "emulation is used instead"
check optional display "$([ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && "$qemu" -display help 2>/dev/null | grep -xE 'gtk|sdl' | head -n 1)" "just qemu-gui" "a desktop, and package qemu-system-gui"
check optional gdb "$(first_line gdb --version)" "just gdb" "package gdb"
check optional addr2line "$(first_line addr2line --version)" "just symbolize" "package binutils"
check optional tracefs "$(tracefs_state)" "just record-trace, as root" "mount -t tracefs nodev /sys/kernel/tracing"
check optional miri "$(cargo +nightly miri --version 2>/dev/null | head -n 1)" "just miri" "rustup toolchain add nightly -c miri"
check optional recordings "$(ls -d ../shared/traces 2>/dev/null)" "replays of large recordings" "beside the project, in shared/traces"

case "$(qemu_version)" in
'' | [1-8].*) [ -z "$(qemu_version)" ] || say "This QEMU emulates no x2APIC (9 and newer do): the kernel runs in xAPIC mode." ;;
esac
[ "$missing" = 0 ] || die "$missing required missing"
say "All that is required is here."
