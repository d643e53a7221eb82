#!/bin/sh
# Installs what the recipes need and this machine lacks; says what and why. Does nothing, quickly, when all is there.
# Usage: setup.sh [direct|iso|uefi|gui]: the way to boot; uefi needs OVMF as well, gui a QEMU that opens windows.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@" </dev/null
    elif have sudo; then
        sudo "$@" </dev/null
    else
        die "this needs root, and sudo is not here: $*"
    fi
}

need_apt() {
    have apt-get && return
    die "this system has no apt. Please install: QEMU for x86-64 (9 or newer), xorriso, and for boot=uefi OVMF;
       then the Rust target: rustup target add $target. \`just doctor\` shows what is still missing."
}

updated=no
apt_update() {
    need_apt
    [ "$updated" = no ] || return 0
    # An unreachable list among several must not stop an installation that does not need it.
    as_root apt-get update -qq || say "apt-get update failed; going on with the lists that are here"
    updated=yes
}

# apt_install REASON PACKAGE...: installs, with apt's own words only when it fails. With $release set, from there.
release=
apt_install() {
    say "setup: installing $(shift && echo "$*"): $1"
    shift
    apt_update
    [ -z "$release" ] || set -- -t "$release" "$@"
    log=$(mktemp)
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        rm -f "$log"
        die "apt-get could not install: $*"
    }
    rm -f "$log"
}

# The newest version that apt would find for a package, its epoch left out.
candidate() { apt-cache madison "$1" 2>/dev/null | awk '{print $3}' | sed 's/^[0-9]*://' | sort -rV | head -n 1; }

setup_qemu() {
    apt_update
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    major=$(candidate qemu-system-x86 | sed 's/\..*//')
    if [ "$codename" = bookworm ] && [ "${major:-0}" -lt 9 ]; then
        add_backports "$codename"
    fi
    if [ "$codename" = bookworm ]; then
        release=$codename-backports
    fi
    apt_install "QEMU runs the kernel; 9 or newer emulates x2APIC" qemu-system-x86
    release=
}

# The windows come from where QEMU came from: they must be of one version.
setup_gui() {
    apt_update
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    case "$codename $(qemu_version)" in
    'bookworm 7.2') ;;
    bookworm\ *) release=$codename-backports ;;
    esac
    apt_install "windows for QEMU (just qemu-gui)" qemu-system-gui
    release=
}

# Debian 12 has QEMU 7.2; 10 is in its backports. The mirror is the one that this system already uses.
add_backports() {
    # shellcheck disable=SC2016 # apt's own notation
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $1" | head -n 1)
    [ -n "$mirror" ] || die "no mirror of Debian $1 is configured, so its backports with QEMU 10 cannot be found"
    file=/etc/apt/sources.list.d/bandolier-backports.sources
    say "setup: adding $1-backports to apt ($file): the QEMU of Debian 12 itself has no x2APIC"
    printf 'Types: deb\nURIs: %s\nSuites: %s-backports\nComponents: main\nSigned-By: %s\n' \
        "$mirror" "$1" /usr/share/keyrings/debian-archive-keyring.gpg | as_root_write "$file"
    updated=no
    apt_update
}

as_root_write() {
    if [ "$(id -u)" = 0 ]; then cat >"$1"; else sudo tee "$1" >/dev/null; fi
}

setup_target() {
    { have rustc && have cargo; } || die "Rust is not here: install the stable toolchain with rustup"
    if [ "${BANDOLIER_NO_RUSTUP:-0}" = 0 ] && have rustup; then
        say "setup: adding the Rust target $target: core and alloc for the kernel"
        if timeout 120 rustup target add "$target" </dev/null && target_installed; then
            return
        fi
        say "setup: rustup could not add it"
    fi
    setup_sources
}

# at_least VERSION WANTED: whether a version is not older than the one wanted.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# core and alloc from Rust sources, where rustup cannot be reached.
setup_sources() {
    say "setup: core and alloc will be built from Rust sources instead"
    needed=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' Cargo.toml)
    sources=
    find_sources || install_sources
    linker=$(find_linker)
    if [ -z "$linker" ]; then
        apt_install "the linker for the kernel" lld
        linker=$(find_linker)
    fi
    mkdir -p "$target_dir"
    printf 'STD_RUSTC=%s\nSTD_SOURCES=%s\nSTD_LINKER=%s\n' "$compiler" "$sources" "$linker" >"$toolchain_env"
    sources_installed || die "the Rust sources are not where they were expected: $sources"
}

# Looks for a compiler that is new enough for the workspace and has its sources with it: the toolchain's own, or the
# distribution's. Sets $compiler and $sources.
find_sources() {
    for compiler in "$(rustc --print sysroot)/bin/rustc" /usr/bin/rustc; do
        [ -x "$compiler" ] || continue
        sources=$("$compiler" --print sysroot)/lib/rustlib/src/rust
        if [ -f "$sources/library/core/Cargo.toml" ] &&
            at_least "$("$compiler" --version | awk '{print $2}')" "$needed"; then
            return 0
        fi
    done
    return 1
}

# Installs sources: those of this toolchain's version, or a compiler together with its own.
install_sources() {
    apt_update
    version=$(rustc --version | awk '{print $2}')
    if [ "$(candidate rust-src | sed 's/[+~-].*//')" = "$version" ]; then
        apt_install "the sources of core and alloc for rustc $version" rust-src
        compiler=$(rustc --print sysroot)/bin/rustc
        sources=/usr/src/rustc-$version
        return
    fi
    offered=$(candidate rustc-web)
    at_least "${offered:-0}" "$needed" ||
        die "the distribution offers ${offered:+rustc-web $offered but }no Rust $needed or newer with sources.
       On Debian 12 it is in the security updates: add bookworm-security to apt's sources, then run this again.
       Or let rustup reach its server once: rustup target add $target"
    apt_install "a compiler together with the sources of its core and alloc" rustc-web rust-web-src
    find_sources || die "rustc-web and rust-web-src are installed, but their files are not where they belong"
}

find_linker() {
    for file in "$(rustc --print sysroot)"/lib/rustlib/*/bin/rust-lld "$(command -v ld.lld || true)"; do
        if [ -x "$file" ]; then
            echo "$file"
            return
        fi
    done
}

have cc || apt_install "gcc links the programs of the host: the tests and the runner" gcc libc6-dev
[ -n "$(qemu_version)" ] || setup_qemu
have xorriso || apt_install "xorriso makes the boot image (just iso)" xorriso
target_installed || sources_installed || setup_target
# Without a desktop there is nothing to open a window on, and the recipe says so.
if [ "${1:-direct}" = gui ] && [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] &&
    ! "$qemu" -display help 2>/dev/null | grep -qxE 'gtk|sdl'; then
    setup_gui
fi
if [ "${1:-direct}" = uefi ] && [ -z "$(ovmf_file)" ]; then
    apt_install "OVMF is the firmware for boot=uefi" ovmf
fi
