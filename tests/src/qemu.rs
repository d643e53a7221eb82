//! From settings to a QEMU command line and the files it names.
//!
//! The machine is always a `q35` without network or default devices, and without a display unless the settings ask for a
//! screen: COM1 is the console and `isa-debug-exit` at 0xf4 the way out. The direct boot takes QEMU's `qboot` firmware where it is installed, which
//! saves a tenth of a second against SeaBIOS.

use crate::archive::{Archive, file_name};
use crate::error::{self, Error};
use crate::host::{self, Accelerator, Ovmf, Qemu};
use crate::image;
use crate::scratch::Scratch;
use crate::settings::{Accel, Boot, Drive, Settings, mem_bytes, screen_size};
use crate::strip;
use std::path::PathBuf;

/// What lies below the archive of a direct boot: memory that firmware uses, and from 1 MiB on the loader. QEMU puts the
/// archive at the end of memory and overwrites both where it does not fit above them: nothing would say a word then.
const BELOW_ARCHIVE: u64 = 2 << 20;

/// Who is at the other end of the serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// A program, through pipes; the machine ends when it resets.
    Pipe,
    /// A person, through the terminal: Ctrl-C goes to the guest, Ctrl-A x ends QEMU, a reset boots again.
    Terminal,
    /// A program at the keyboard and the screen, by QEMU's machine protocol; and perhaps through pipes as well.
    Screen {
        /// Whether the machine has a serial port.
        has_serial: bool,
    },
    /// A person at a window, with the serial line in the terminal beside it.
    Window,
    /// A file, while gdb has the terminal and the machine: it starts stopped.
    Debugger,
}

/// A machine ready to start. The files it boots from live as long as this value.
#[derive(Debug)]
pub struct Launch {
    /// The program to run.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Lines worth showing before the boot: accelerator and firmware, and why these.
    pub remarks: Vec<String>,
    scratch: Scratch,
}

impl Launch {
    /// Writes the archive or the image and puts the arguments together.
    pub fn prepare(settings: &Settings, console: Console) -> Result<Self, Error> {
        let qemu = Qemu::find()?;
        let scratch = Scratch::new()?;
        let mut remarks = Vec::new();
        let media = Media::prepare(settings, qemu, &scratch, &mut remarks)?;
        let accelerator = host::accelerator(settings.accel);
        remarks.insert(0, describe(settings, qemu, &accelerator));
        if accelerator.argument != "kvm" && qemu.version < host::FIRST_WITH_X2APIC {
            let (major, minor) = qemu.version;
            remarks.push(format!("QEMU {major}.{minor} emulates no x2APIC: the kernel will run in xAPIC mode"));
        }
        let arguments = arguments(settings, &accelerator, &media, console, &scratch);
        Ok(Self { program: qemu.program.clone(), arguments, remarks, scratch })
    }

    /// The socket of QEMU's machine protocol, and a file for a screenshot, of a [`Console::Screen`] machine.
    pub fn screen_files(&self) -> (PathBuf, PathBuf) {
        (self.scratch.file("qmp.sock"), self.scratch.file("screen.ppm"))
    }

    /// The serial log and gdb's socket of a [`Console::Debugger`] machine.
    pub fn debugger_files(&self) -> (PathBuf, PathBuf) {
        (self.scratch.file("serial.log"), self.scratch.file("gdb.sock"))
    }
}

fn describe(settings: &Settings, qemu: &Qemu, accelerator: &Accelerator) -> String {
    let (major, minor) = qemu.version;
    let name = if accelerator.argument == "kvm" { "KVM" } else { "TCG" };
    let s = if settings.nr_cpus() == 1 { "" } else { "s" };
    let machine = format!("QEMU {major}.{minor}, {} CPU{s}, {}", settings.nr_cpus(), settings.mem);
    format!("{machine}, {name} ({})", accelerator.reason)
}

/// What the machine boots from.
#[derive(Debug)]
enum Media {
    Direct { loader: PathBuf, archive: PathBuf, firmware: Option<PathBuf> },
    Image { image: PathBuf, ovmf: Option<Ovmf> },
}

impl Media {
    fn prepare(s: &Settings, qemu: &Qemu, scratch: &Scratch, remarks: &mut Vec<String>) -> Result<Self, Error> {
        let built = |path: &PathBuf| match path.is_file() {
            true => Ok(()),
            false => Err(Error::missing(path.display().to_string(), "run `just build`")),
        };
        built(&s.kernel)?;
        if s.boot == Boot::Direct {
            built(&s.loader)?;
            let mut archive = Archive::default();
            archive.add(&file_name(&s.kernel), &strip::kernel(&s.kernel)?)?;
            for module in &s.modules {
                archive.add_file(module)?;
            }
            let file = scratch.file("archive.tar");
            let bytes = archive.finish();
            let least = BELOW_ARCHIVE + bytes.len() as u64;
            if mem_bytes(&s.mem).is_some_and(|mem| mem < least) {
                let expected = format!("{} KiB at least: 2 MiB and what is loaded", least.div_ceil(1024));
                return Err(Error::setting("mem", &s.mem, &expected));
            }
            error::write(&file, &bytes)?;
            return Ok(Self::Direct { loader: s.loader.clone(), archive: file, firmware: qemu.firmware("qboot.rom") });
        }
        let ovmf = match (s.boot, host::ovmf()) {
            (Boot::Uefi, None) => {
                return Err(Error::missing("OVMF", "install the package ovmf, or set OVMF to the file"));
            }
            (Boot::Uefi, Some(Ovmf::Split { code, vars })) => {
                let copy = scratch.file("vars.fd");
                error::copy(&vars, &copy)?;
                Some(Ovmf::Split { code, vars: copy })
            }
            (Boot::Uefi, whole) => whole,
            _ => None,
        };
        if let Some(image) = &s.image {
            return match image.is_file() {
                true => Ok(Self::Image { image: image.clone(), ovmf }),
                false => Err(Error::missing(image.display().to_string(), "run `just image`")),
            };
        }
        let image = scratch.file("bandolier.iso");
        remarks.extend(image::build(s, &image)?);
        Ok(Self::Image { image, ovmf })
    }
}

fn arguments(s: &Settings, accel: &Accelerator, media: &Media, console: Console, scratch: &Scratch) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|w| w.to_string()));
    add(&["-nodefaults", "-no-user-config", "-machine", "q35", "-accel", accel.argument, "-cpu", &s.cpu]);
    if s.accel == Accel::Icount {
        // A tick of the TSC is an instruction, whichever CPU executes it; an idle machine does not wait for the host.
        add(&["-icount", "shift=0,sleep=off"]);
    }
    match s.apic_ids.nr_cpus() {
        None => add(&["-smp", &s.cpus.to_string()]),
        Some(_) => s.apic_ids.arguments(&s.cpu).iter().for_each(|word| add(&[word])),
    }
    add(&["-m", &s.mem, "-vga", "none"]);
    if console != Console::Window {
        add(&["-display", "none"]);
    }
    if let Some((width, height)) = screen_size(&s.screen) {
        // 64 MiB: room for more than 3840x2160.
        add(&["-device", &format!("VGA,vgamem_mb=64,xres={width},yres={height}")]);
    }
    // Without a serial line the machine is as a real one is: it has no such way out, and its screen stays to be seen.
    if console != (Console::Screen { has_serial: false }) {
        add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    }
    match console {
        Console::Pipe => add(&["-no-reboot", "-monitor", "none", "-serial", "stdio"]),
        Console::Screen { has_serial } => {
            let socket = format!("unix:{},server=on,wait=off", scratch.file("qmp.sock").display());
            add(&["-no-reboot", "-qmp", &socket, "-serial", if has_serial { "stdio" } else { "none" }]);
        }
        Console::Window => add(&["-serial", "mon:stdio"]),
        Console::Terminal => add(&["-serial", "mon:stdio"]),
        Console::Debugger => {
            let serial = format!("file:{}", scratch.file("serial.log").display());
            let socket = format!("unix:{},server=on,wait=off", scratch.file("gdb.sock").display());
            add(&["-no-reboot", "-monitor", "none", "-serial", &serial, "-gdb", &socket, "-S"]);
        }
    }
    match media {
        Media::Direct { loader, archive, firmware } => {
            if let Some(rom) = firmware {
                add(&["-bios", &rom.display().to_string()]);
            }
            add(&["-kernel", &loader.display().to_string(), "-initrd", &archive.display().to_string()]);
            add(&["-append", &s.command_line()]);
        }
        Media::Image { image, ovmf } => {
            match ovmf {
                None => {}
                Some(Ovmf::Whole(file)) => add(&["-bios", &file.display().to_string()]),
                Some(Ovmf::Split { code, vars }) => {
                    let flash = |unit: u32, file: &PathBuf, rest: &str| {
                        format!("if=pflash,format=raw,unit={unit},file={}{rest}", file.display())
                    };
                    add(&["-drive", &flash(0, code, ",readonly=on"), "-drive", &flash(1, vars, "")]);
                }
            }
            let drive = format!("if=none,id=boot,format=raw,readonly=on,file={}", image.display());
            match s.drive {
                Drive::Cd => add(&["-cdrom", &image.display().to_string()]),
                Drive::Usb => {
                    add(&["-drive", &drive, "-device", "usb-ehci"]);
                    add(&["-device", "usb-storage,drive=boot,removable=on,bootindex=0"]);
                }
                // The write protection is QEMU's own: a SATA disk knows none.
                Drive::Disk => {
                    add(&["-drive", &drive.replace("readonly=on", "snapshot=on")]);
                    add(&["-device", "ide-hd,drive=boot,bootindex=0"]);
                }
            }
        }
    }
    args.extend(s.qemu.iter().cloned());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &Settings, media: &Media, console: Console) -> String {
        let accel = Accelerator { argument: "tcg,thread=multi", reason: String::new() };
        arguments(settings, &accel, media, console, &Scratch::new().unwrap()).join(" ")
    }

    fn direct() -> Media {
        Media::Direct { loader: "loader".into(), archive: "a.tar".into(), firmware: Some("qboot.rom".into()) }
    }

    #[test]
    fn the_direct_boot_gives_the_loader_its_archive_and_command_line() {
        let s = Settings { cmd: "mem; quit".into(), qemu: vec!["-d".into(), "int".into()], ..Settings::default() };
        let line = of(&s, &direct(), Console::Pipe);
        assert!(line.contains("-bios qboot.rom -kernel loader -initrd a.tar -append run=mem; quit"), "{line}");
        assert!(line.contains("-smp 8 -m 1G") && line.contains("-no-reboot") && line.ends_with("-d int"), "{line}");
        assert!(line.contains("isa-debug-exit,iobase=0xf4,iosize=0x04"), "{line}");
    }

    #[test]
    fn at_a_terminal_a_reset_boots_again_and_the_monitor_is_at_hand() {
        let line = of(&Settings::default(), &direct(), Console::Terminal);
        assert!(line.contains("-serial mon:stdio") && !line.contains("-no-reboot"), "{line}");
    }

    #[test]
    fn uefi_takes_its_firmware_whole_or_split() {
        let s = Settings { boot: Boot::Uefi, ..Settings::default() };
        let whole = Media::Image { image: "i.iso".into(), ovmf: Some(Ovmf::Whole("o.fd".into())) };
        assert!(of(&s, &whole, Console::Pipe).contains("-bios o.fd -cdrom i.iso"));
        let split = Some(Ovmf::Split { code: "c.fd".into(), vars: "v.fd".into() });
        let line = of(&s, &Media::Image { image: "i.iso".into(), ovmf: split }, Console::Pipe);
        assert!(line.contains("unit=0,file=c.fd,readonly=on") && line.contains("unit=1,file=v.fd -cdrom"), "{line}");
    }

    #[test]
    fn an_image_is_a_stick_or_a_disk_as_well() {
        let media = Media::Image { image: "i.iso".into(), ovmf: None };
        let of_drive = |drive| of(&Settings { boot: Boot::Iso, drive, ..Settings::default() }, &media, Console::Pipe);
        assert!(
            of_drive(Drive::Usb).contains("readonly=on,file=i.iso -device usb-ehci -device usb-storage,drive=boot")
        );
        assert!(of_drive(Drive::Disk).contains("snapshot=on,file=i.iso -device ide-hd,drive=boot"));
    }
}
