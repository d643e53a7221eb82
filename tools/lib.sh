# Shared by the scripts beside it, which are started from the workspace's folder. Sourced, not run.
# shellcheck shell=sh

target=x86_64-unknown-none
# shellcheck disable=SC2034 # used by the scripts that source this
target_dir=${CARGO_TARGET_DIR:-target}
# The same from any folder.
# shellcheck disable=SC2034 # as above
case $target_dir in
/*) target_path=$target_dir ;;
*) target_path=$(pwd)/$target_dir ;;
esac
# How the kernel's core and alloc are had, where not from rustup: written by setup.sh, read by build.sh.
toolchain_env=$target_dir/toolchain.env
qemu=${QEMU:-qemu-system-x86_64}

have() { command -v "$1" >/dev/null 2>&1; }

say() { printf '%s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The installed QEMU's version, as MAJOR.MINOR; nothing if there is none.
qemu_version() {
    "$qemu" --version 2>/dev/null | sed -n 's/.*version \([0-9]*\.[0-9]*\).*/\1/p'
}

# Whether rustc comes with core and alloc for the kernel's target. BANDOLIER_NO_RUSTUP=1 tries the way without.
target_installed() {
    [ "${BANDOLIER_NO_RUSTUP:-0}" = 0 ] || return 1
    dir=$(rustc --print target-libdir --target "$target" 2>/dev/null) || return 1
    set -- "$dir"/libcore-*.rlib
    [ -e "$1" ]
}

# Whether the recorded way to build core and alloc from source still holds. Sets its variables.
sources_installed() {
    [ -f "$toolchain_env" ] || return 1
    # shellcheck disable=SC1090 # written by setup.sh
    . "./$toolchain_env" 2>/dev/null || . "$toolchain_env"
    [ -x "${STD_RUSTC:-}" ] && [ -f "${STD_SOURCES:-}/library/core/Cargo.toml" ] && [ -e "${STD_LINKER:-}" ]
}

# UEFI firmware for the guest: OVMF in the environment, or where distributions put it.
ovmf_file() {
    for file in "${OVMF:-}" /usr/share/*/OVMF*.fd /usr/share/edk2*/*/OVMF*.fd; do
        if [ -f "$file" ]; then
            echo "$file"
            return
        fi
    done
}
