//! The settings of a boot, in the words that `just` takes: `cpus=8 mem=1G cpu=max boot=direct ...`.
//!
//! Every command that boots takes the same ones, so a failing test can print the line that repeats it
//! ([`Settings::as_just`]). Values are checked here, once; what comes out can be handed to QEMU as it is.

mod apic_ids;
mod choices;

pub use apic_ids::ApicIds;
pub use choices::{Accel, Boot, Drive, boot_name};
use choices::{accel_name, drive_name};

use crate::error::Error;
use crate::scratch;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One boot, described.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Number of CPUs, 1 to 255 under Limine, 1 to 4096 for QEMU.
    pub cpus: u32,
    /// APIC ids of the CPUs, where QEMU is not to choose them; their number counts then, and `cpus` does not.
    pub apic_ids: ApicIds,
    /// Memory, in QEMU's notation (`64M`, `8G`).
    pub mem: String,
    /// CPU model and features (`max`, `max,-x2apic`).
    pub cpu: String,
    /// The way in.
    pub boot: Boot,
    /// What the image of a boot by Limine is to the machine.
    pub drive: Drive,
    /// An image that is there already, instead of one made for this boot.
    pub image: Option<PathBuf>,
    /// The accelerator.
    pub accel: Accel,
    /// Shell commands, separated by `;`, given to the kernel as `run=`. Empty means none.
    pub cmd: String,
    /// Kernel options, before `run=` on the kernel's command line.
    pub append: String,
    /// Files handed to the kernel as modules, named there by their file name.
    pub modules: Vec<PathBuf>,
    /// Pixels of the screen, as `1920x1080`; no screen if empty. Direct boots have none whatever it says.
    pub screen: String,
    /// Extra arguments for QEMU.
    pub qemu: Vec<String>,
    /// How long the machine may run when nobody is at a terminal.
    pub timeout: Duration,
    /// The kernel's ELF file.
    pub kernel: PathBuf,
    /// The direct loader's ELF file.
    pub loader: PathBuf,
    /// The folder that the caller stands in, from which paths in later words are; empty for that of this process.
    pub folder: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        let built = scratch::target_dir().join("x86_64-unknown-none/release");
        Self {
            cpus: 8,
            apic_ids: ApicIds::default(),
            mem: "1G".into(),
            cpu: "max".into(),
            boot: Boot::Direct,
            drive: Drive::Cd,
            image: None,
            accel: Accel::Auto,
            cmd: String::new(),
            append: String::new(),
            modules: Vec::new(),
            screen: String::new(),
            qemu: Vec::new(),
            timeout: Duration::from_secs(120),
            kernel: built.join("bandolier"),
            loader: built.join("loader"),
            folder: PathBuf::new(),
        }
    }
}

impl Settings {
    /// Reads `name=value` words over the defaults. A name may be repeated: the last one wins.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut settings = Self::default();
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                return Err(Error::setting(word, "", "a setting of the form name=value"));
            };
            settings.set(name, value)?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let wrong = |expected: &str| Error::setting(name, value, expected);
        match name {
            "cpus" => {
                let cpus = value.parse().ok().filter(|n| (1..=4096).contains(n));
                self.cpus = cpus.ok_or_else(|| wrong("a number of CPUs, 1 to 4096"))?;
            }
            "apic-ids" => {
                let ids = ApicIds::parse(value);
                self.apic_ids =
                    ids.ok_or_else(|| wrong("different APIC ids below 4096, 0 first, such as 0,261,512"))?;
            }
            "mem" => {
                mem_bytes(value).ok_or_else(|| wrong("an amount of memory such as 64M or 8G"))?;
                self.mem = value.into();
            }
            "cpu" if !value.is_empty() => self.cpu = value.into(),
            "cpu" => return Err(wrong("a CPU model such as max or max,-x2apic")),
            "boot" => {
                self.boot = match value {
                    "direct" => Boot::Direct,
                    "iso" => Boot::Iso,
                    "uefi" => Boot::Uefi,
                    _ => return Err(wrong("direct, iso or uefi")),
                }
            }
            "drive" => {
                let found = [Drive::Cd, Drive::Usb, Drive::Disk].into_iter().find(|drive| drive_name(*drive) == value);
                self.drive = found.ok_or_else(|| wrong("cd, usb or disk"))?;
            }
            "image" => self.image = (!value.is_empty()).then(|| self.folder.join(value)),
            "accel" => {
                self.accel = match value {
                    "auto" => Accel::Auto,
                    "tcg" => Accel::Tcg,
                    "icount" => Accel::Icount,
                    "kvm" => Accel::Kvm,
                    _ => return Err(wrong("auto, tcg, icount or kvm")),
                }
            }
            "cmd" => self.cmd = one_line(value).ok_or_else(|| wrong("shell commands on one line"))?,
            "append" => self.append = one_line(value).ok_or_else(|| wrong("kernel options on one line"))?,
            "modules" => {
                let found = value.split_whitespace().map(|name| find_module(&self.folder, name));
                self.modules = found.collect::<Result<_, _>>()?;
            }
            "screen" => {
                if !value.is_empty() {
                    screen_size(value).ok_or_else(|| wrong("pixels such as 1920x1080, or nothing"))?;
                }
                self.screen = value.into();
            }
            "qemu" => self.qemu = split_words(value).ok_or_else(|| wrong("arguments with matching quotes"))?,
            "timeout" => {
                let seconds = value.parse().ok().filter(|&s| s > 0);
                self.timeout = Duration::from_secs(seconds.ok_or_else(|| wrong("a number of seconds"))?);
            }
            "folder" => self.folder = value.into(),
            "kernel" => self.kernel = value.into(),
            "loader" => self.loader = value.into(),
            _ => {
                let expected = "one of cpus apic-ids mem cpu boot drive image accel cmd append modules screen qemu timeout folder kernel loader";
                return Err(Error::setting(name, value, expected));
            }
        }
        Ok(())
    }

    /// How many CPUs the machine has.
    pub fn nr_cpus(&self) -> u32 {
        self.apic_ids.nr_cpus().unwrap_or(self.cpus)
    }

    /// The kernel's command line: its options, then `run=` with the rest of the line, which must come last.
    pub fn command_line(&self) -> String {
        let mut line = self.append.clone();
        if !self.cmd.is_empty() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str("run=");
            line.push_str(&self.cmd);
        }
        line
    }

    /// Makes sure that the script ends the machine: adds `quit` unless a command of it is `quit` or `reboot`.
    pub fn end_with_quit(&mut self) {
        let ends = self.cmd.split(';').any(|c| matches!(c.split_whitespace().next(), Some("quit" | "reboot")));
        if !ends && !self.cmd.trim().is_empty() {
            self.cmd.push_str("; quit");
        }
    }

    /// Tells the kernel how many CPUs this host can run at a time (`host-cpus=N`), where a benchmark may be run and
    /// nothing else was said: it marks what measures the host's scheduler.
    pub fn say_host_cpus(&mut self) {
        let may_bench =
            self.cmd.is_empty() || self.cmd.split(';').any(|c| c.split_whitespace().next() == Some("bench"));
        let is_said = self.append.split_whitespace().any(|word| word.starts_with("host-cpus="));
        if let Ok(nr_cpus) = std::thread::available_parallelism()
            && may_bench
            && !is_said
        {
            let blank = if self.append.is_empty() { "" } else { " " };
            let _ = write!(self.append, "{blank}host-cpus={nr_cpus}");
        }
    }

    /// The command that boots the same thing again; settings that have their default are left out.
    pub fn as_just(&self) -> String {
        let usual = Self::default();
        let mut line = String::from("just");
        let mut word = |name: &str, value: &str, usual: &str| {
            if value != usual {
                let _ = write!(line, " {name}={}", quote(value));
            }
        };
        word("cpus", &self.cpus.to_string(), &usual.cpus.to_string());
        word("apic-ids", &self.apic_ids.to_string(), "");
        word("mem", &self.mem, &usual.mem);
        word("cpu", &self.cpu, &usual.cpu);
        word("boot", boot_name(self.boot), boot_name(usual.boot));
        word("drive", drive_name(self.drive), drive_name(usual.drive));
        word("image", &self.image.as_ref().map(|image| image.display().to_string()).unwrap_or_default(), "");
        word("accel", accel_name(self.accel), accel_name(usual.accel));
        word("append", &self.append, &usual.append);
        word("modules", &self.modules.iter().map(|m| m.display().to_string()).collect::<Vec<_>>().join(" "), "");
        word("screen", &self.screen, "");
        word("qemu", &self.qemu.join(" "), "");
        word("cmd", &self.cmd, &usual.cmd);
        line + " qemu-smp"
    }
}

/// The bytes of an amount of memory in QEMU's notation: a bare number is MiB.
pub fn mem_bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        b'T' | b't' => (&text[..text.len() - 1], 40),
        _ => (text, 20),
    };
    let number: u64 = digits.parse().ok()?;
    (number > 0).then_some(())?;
    number.checked_mul(1 << shift)
}

/// Width and height of a screen given as `1920x1080`.
pub fn screen_size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let side = |text: &str| text.parse().ok().filter(|side| (320..=16384).contains(side));
    Some((side(width)?, side(height)?))
}

/// The folders in which a module is looked for after the path as given: the small recording is in the project, the
/// large ones may lie beside it.
pub fn recording_dirs() -> [PathBuf; 2] {
    let root = scratch::workspace();
    [root.join("tests/data"), root.join("../shared/traces")]
}

fn find_module(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let given = Path::new(name);
    let mut places = vec![folder.join(given)];
    places.extend(recording_dirs().map(|dir| dir.join(given)));
    places.into_iter().find(|p| p.is_file()).ok_or_else(|| {
        Error::missing(format!("module {name}"), "give a path, or the name of a file in tests/data or ../shared/traces")
    })
}

fn one_line(text: &str) -> Option<String> {
    (!text.contains(['\n', '\r', '\0'])).then(|| text.trim().to_string())
}

/// Splits at white space; single and double quotes keep it. None where a quote is left open.
pub fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut open = None;
    for c in text.chars() {
        match open {
            Some(q) if c == q => open = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                open = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    open.is_none().then_some(words)
}

fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_of_the_host_where_it_may_measure() {
        let of = |cmd: &str, append: &str| {
            let mut s = Settings { cmd: cmd.into(), append: append.into(), ..Settings::default() };
            s.say_host_cpus();
            s.append
        };
        let said = format!("host-cpus={}", std::thread::available_parallelism().unwrap());
        assert_eq!((of("", ""), of("mem; bench pair64", "quiet")), (said.clone(), format!("quiet {said}")));
        assert_eq!((of("mem; quit", ""), of("bench", "host-cpus=7")), (String::new(), "host-cpus=7".into()));
    }

    #[test]
    fn settings_are_read_over_the_defaults() {
        let s =
            Settings::parse(["cpus=64", "mem=64M", "boot=uefi", "cmd=stress 5s; quit", "append=apic=xapic"]).unwrap();
        assert_eq!((s.cpus, s.mem.as_str(), s.boot), (64, "64M", Boot::Uefi));
        assert_eq!(s.command_line(), "apic=xapic run=stress 5s; quit");
        assert_eq!(Settings::default().command_line(), "");
    }

    #[test]
    fn bad_settings_say_what_was_expected() {
        for (word, part) in [
            ("cpus=0", "1 to 4096"),
            ("cpus=many", "1 to 4096"),
            ("mem=lots", "64M or 8G"),
            ("mem=0", "64M or 8G"),
            ("boot=floppy", "direct, iso or uefi"),
            ("accel=hvf", "auto, tcg, icount or kvm"),
            ("drive=tape", "cd, usb or disk"),
            ("colour=red", "one of cpus apic-ids mem"),
            ("apic-ids=1,2", "0 first"),
            ("cpus", "name=value"),
            ("qemu=-d 'int", "matching quotes"),
            ("modules=no-such.kmt", "tests/data"),
            ("timeout=0", "seconds"),
            ("screen=wide", "1920x1080"),
            ("screen=1x1", "1920x1080"),
        ] {
            let said = Settings::parse([word]).unwrap_err().to_string();
            assert!(said.contains(part), "{word}: {said}");
        }
    }

    #[test]
    fn modules_are_found_in_the_projects_own_data() {
        let s = Settings::parse(["modules=fork-exec-small.kmt"]).unwrap();
        assert!(s.modules[0].is_file());
    }

    #[test]
    fn paths_are_from_the_folder_that_the_caller_stands_in() {
        let data = scratch::workspace().join("tests");
        let folder = format!("folder={}", data.display());
        let s = Settings::parse([&folder, "modules=data/fork-exec-small.kmt", "image=some.iso"]).unwrap();
        assert_eq!(s.modules, [data.join("data/fork-exec-small.kmt")]);
        assert_eq!(s.image, Some(data.join("some.iso")));
        assert_eq!(Settings::parse([&folder, "image=/else.iso"]).unwrap().image, Some("/else.iso".into()));
    }

    #[test]
    fn a_script_ends_the_machine_once() {
        let ended = |cmd: &str| {
            let mut s = Settings { cmd: cmd.into(), ..Settings::default() };
            s.end_with_quit();
            s.cmd
        };
        assert_eq!(ended("mem"), "mem; quit");
        assert_eq!(ended("mem; quit"), "mem; quit");
        assert_eq!(ended("quit"), "quit");
        assert_eq!(ended("help quit"), "help quit; quit");
        assert_eq!(ended("mem; reboot"), "mem; reboot");
        assert_eq!(ended(""), "");
    }

    #[test]
    fn the_line_that_repeats_a_boot_names_what_differs() {
        let s = Settings { cpus: 2, cmd: "stress 5s; quit".into(), ..Settings::default() };
        assert_eq!(s.as_just(), "just cpus=2 cmd='stress 5s; quit' qemu-smp");
        assert_eq!(Settings::default().as_just(), "just qemu-smp");
    }

    #[test]
    fn words_split_at_space_but_not_inside_quotes() {
        assert_eq!(split_words(" -d  int -D 'a b' ''").unwrap(), ["-d", "int", "-D", "a b", ""]);
        assert_eq!(split_words("\"open"), None);
    }

    #[test]
    fn memory_is_counted_as_qemu_counts_it() {
        assert_eq!(mem_bytes("64M"), Some(64 << 20));
        assert_eq!(mem_bytes("8G"), Some(8 << 30));
        assert_eq!(mem_bytes("512"), Some(512 << 20));
        assert_eq!(mem_bytes("99999999999T"), None);
        assert_eq!(mem_bytes(""), None);
    }
}
