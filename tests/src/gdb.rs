//! A machine under gdb: stopped before its first instruction, then run to the kernel's entry point.
//!
//! Every CPU is a thread (`thread apply all bt`). gdb has the terminal; the serial line goes to a file, whose name is
//! printed. With standard input not a terminal, gdb reads its commands from there.

use crate::error::{self, Error};
use crate::outcome::End;
use crate::qemu::{Console, Launch};
use crate::session::spawn_bound;
use crate::settings::Settings;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Starts both, and ends QEMU when gdb ends.
pub fn run(settings: &Settings) -> Result<End, Error> {
    let entry = entry_point(&error::read(&settings.kernel)?)
        .ok_or_else(|| Error::missing("a 64-bit ELF kernel", "run `just build`"))?;
    let launch = Launch::prepare(settings, Console::Debugger)?;
    let (serial, socket) = launch.debugger_files();
    println!("{}\nserial line: {}", launch.remarks.join("\n"), serial.display());

    let mut qemu = spawn_bound(Command::new(&launch.program).args(&launch.arguments))?;
    let until = Instant::now() + Duration::from_secs(10);
    while !socket.exists() && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    let gdb = Command::new("gdb")
        .args(["-q", "-ex", "set pagination off", "-ex"])
        .arg(format!("target remote {}", socket.display()))
        .arg("-ex")
        .arg(format!("hbreak *{entry:#x}"))
        .args(["-ex", "continue"])
        .arg(&settings.kernel)
        .status();
    let _ = qemu.kill();
    let _ = qemu.wait();
    match gdb {
        Ok(status) if status.success() => Ok(End::Success),
        Ok(status) => Err(Error::Tool { command: "gdb".into(), said: status.to_string() }),
        Err(e) => Err(Error::missing(format!("gdb ({e})"), "install the package gdb")),
    }
}

/// The entry point in the header of an ELF64 file (`e_entry`, at byte 24).
fn entry_point(elf: &[u8]) -> Option<u64> {
    elf.starts_with(b"\x7fELF\x02").then_some(())?;
    Some(u64::from_le_bytes(elf.get(24..32)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_point_is_read_from_elf64_only() {
        let mut elf = b"\x7fELF\x02".to_vec();
        elf.resize(24, 0);
        elf.extend_from_slice(&0xffff_ffff_8000_1000_u64.to_le_bytes());
        assert_eq!(entry_point(&elf), Some(0xffff_ffff_8000_1000));
        assert_eq!(entry_point(&elf[..30]), None);
        elf[4] = 1;
        assert_eq!(entry_point(&elf), None);
    }
}
