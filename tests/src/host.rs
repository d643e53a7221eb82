//! What this host offers: QEMU and its version, firmware, and whether KVM is worth having.
//!
//! Nothing is guessed from names of distributions: QEMU is asked for its version and its data folders, the kernel
//! for its modules.

use crate::error::Error;
use crate::settings::Accel;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The first QEMU whose emulation has x2APIC.
pub const FIRST_WITH_X2APIC: (u32, u32) = (9, 0);

/// QEMU as found on this host.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The program: `QEMU` in the environment, or `qemu-system-x86_64`.
    pub program: String,
    /// Major and minor version.
    pub version: (u32, u32),
    /// Folders with QEMU's firmware files, in its order of search.
    pub data_dirs: Vec<PathBuf>,
}

impl Qemu {
    /// Asks QEMU for its version and folders, once for the process.
    pub fn find() -> Result<&'static Self, Error> {
        static FOUND: OnceLock<Result<Qemu, String>> = OnceLock::new();
        FOUND.get_or_init(Self::probe).as_ref().map_err(|said| Error::missing(said, "run `just setup`"))
    }

    fn probe() -> Result<Self, String> {
        let program = std::env::var("QEMU").ok().filter(|q| !q.is_empty()).unwrap_or("qemu-system-x86_64".into());
        let ask = |args: &[&str]| {
            let out = Command::new(&program).args(args).output().map_err(|e| format!("QEMU ({program}: {e})"))?;
            Ok::<_, String>(String::from_utf8_lossy(&out.stdout).into_owned())
        };
        let text = ask(&["--version"])?;
        let version = parse_version(&text).ok_or(format!("a QEMU that names its version ({program})"))?;
        let data_dirs = ask(&["-L", "help"])?.lines().map(PathBuf::from).collect();
        Ok(Self { program, version, data_dirs })
    }

    /// A firmware file that comes with QEMU.
    pub fn firmware(&self, name: &str) -> Option<PathBuf> {
        self.data_dirs.iter().map(|dir| dir.join(name)).find(|file| file.is_file())
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_once("version ")?.1.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether QEMU can open a window: there must be a desktop, and a QEMU that was built for one.
pub fn has_display() -> Result<(), Error> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        let remedy = "run it on a desktop, or use `just qemu-smp`, which needs none";
        return Err(Error::missing("a display (neither DISPLAY nor WAYLAND_DISPLAY is set)", remedy));
    }
    let qemu = Qemu::find()?;
    let out = Command::new(&qemu.program).args(["-display", "help"]).output();
    let known = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    match known.lines().any(|line| matches!(line.trim(), "gtk" | "sdl" | "cocoa")) {
        true => Ok(()),
        false => Err(Error::missing("a QEMU that opens windows", "install the package qemu-system-gui")),
    }
}

/// UEFI firmware for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ovmf {
    /// One file, for `-bios`.
    Whole(PathBuf),
    /// Code, and a template of the variables, which QEMU writes to: each run takes a copy.
    Split {
        /// The read-only part.
        code: PathBuf,
        /// The template of the writable part.
        vars: PathBuf,
    },
}

/// Looks for OVMF in `OVMF` (a file, in the environment) and in the places where distributions put it.
pub fn ovmf() -> Option<Ovmf> {
    if let Some(file) = std::env::var_os("OVMF").map(PathBuf::from).filter(|f| f.is_file()) {
        return Some(Ovmf::Whole(file));
    }
    let whole = ["ovmf/OVMF.fd", "OVMF/OVMF.fd", "edk2/ovmf/OVMF.fd", "qemu/OVMF.fd", "edk2-ovmf/OVMF.fd"];
    let split = [
        ("OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd"),
        ("OVMF/OVMF_CODE.fd", "OVMF/OVMF_VARS.fd"),
        ("edk2/x64/OVMF_CODE.4m.fd", "edk2/x64/OVMF_VARS.4m.fd"),
        ("edk2/ovmf/OVMF_CODE.fd", "edk2/ovmf/OVMF_VARS.fd"),
        ("edk2-ovmf/x64/OVMF_CODE.fd", "edk2-ovmf/x64/OVMF_VARS.fd"),
        ("qemu/edk2-x86_64-code.fd", "qemu/edk2-i386-vars.fd"),
    ];
    let file = |name: &str| Some(Path::new("/usr/share").join(name)).filter(|f| f.is_file());
    let whole = || whole.iter().find_map(|name| file(name)).map(Ovmf::Whole);
    let split = || split.iter().find_map(|(code, vars)| Some(Ovmf::Split { code: file(code)?, vars: file(vars)? }));
    whole().or_else(split)
}

/// The accelerator chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accelerator {
    /// The argument of QEMU's `-accel`.
    pub argument: &'static str,
    /// A clause that says why, for the line printed before the boot.
    pub reason: String,
}

const KVM: &str = "kvm";
const EMULATION: &str = "tcg,thread=multi";
const COUNTING: &str = "tcg,thread=single";

/// Chooses on this host.
pub fn accelerator(wanted: Accel) -> Accelerator {
    // /sys/module names modules that are built in as well.
    let module = ["kvm_intel", "kvm_amd"].into_iter().find(|m| Path::new("/sys/module").join(m).is_dir());
    let opens = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    choose(wanted, module, opens)
}

/// The rule. That `/dev/kvm` opens proves nothing: it may be an emulation that runs an unmodified kernel hundreds of
/// times slower than TCG. So KVM is taken only with the hardware's own module behind it, and no list of fall-backs is
/// given to QEMU, which would take the first that opens.
fn choose(wanted: Accel, module: Option<&str>, opens: bool) -> Accelerator {
    let say = |argument, reason: &str| Accelerator { argument, reason: reason.into() };
    match (wanted, module, opens) {
        (Accel::Tcg, ..) => say(EMULATION, "accel=tcg"),
        (Accel::Icount, ..) => say(COUNTING, "accel=icount, one tick for each instruction"),
        (Accel::Kvm, Some(module), _) => say(KVM, &format!("accel=kvm, {module} is loaded")),
        (Accel::Kvm, None, _) => say(KVM, "accel=kvm, though neither kvm_intel nor kvm_amd is loaded: expect it slow"),
        (Accel::Auto, Some(module), true) => say(KVM, &format!("{module} is loaded and /dev/kvm opens")),
        (Accel::Auto, Some(module), false) => say(EMULATION, &format!("{module} is loaded but /dev/kvm does not open")),
        (Accel::Auto, None, true) => say(EMULATION, "/dev/kvm opens, but neither kvm_intel nor kvm_amd is behind it"),
        (Accel::Auto, None, false) => say(EMULATION, "neither kvm_intel nor kvm_amd is loaded"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_needs_the_hardwares_module_and_the_device() {
        assert_eq!(choose(Accel::Auto, Some("kvm_intel"), true).argument, KVM);
        assert_eq!(choose(Accel::Auto, Some("kvm_amd"), false).argument, EMULATION);
        assert_eq!(choose(Accel::Auto, None, true).argument, EMULATION);
        assert_eq!(choose(Accel::Tcg, Some("kvm_intel"), true).argument, EMULATION);
        assert_eq!(choose(Accel::Kvm, None, false).argument, KVM);
    }

    #[test]
    fn versions_are_read_from_what_qemu_prints() {
        assert_eq!(parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"), Some((10, 0)));
        assert_eq!(parse_version("QEMU emulator version 7.2.22"), Some((7, 2)));
        assert_eq!(parse_version("something else"), None);
        assert!((7, 2) < FIRST_WITH_X2APIC && FIRST_WITH_X2APIC < (10, 0));
    }
}
