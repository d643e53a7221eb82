//! The image for real machines: boots from a stick, a disk and a CD, under BIOS and UEFI, and its menu starts what it says.

use crate::support::{Failure, LIMIT, Outcome, Passed, Settings, Test, Typist, script};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tests::menu::{self, ENTRIES, Start};
use tests::scratch::Scratch;
use tests::settings::{Boot, Drive};
use tests::{host, image};

const DOWN: &str = "\x1b[B";
const CTRL_C: &str = "\x03";

/// Tests that run only when asked for by this name: every firmware with every drive, minutes of them.
const EVERY_WAY: &str = "every-way";

/// Whether a test is one of many that only a filter asks for.
pub(crate) fn is_on_demand(test: &Test) -> bool {
    test.group() == EVERY_WAY
}

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let usual = vec![
        Test::new("stick::an-entry-is-chosen-from-a-usb-stick-under-bios", || {
            started(Boot::Iso, Drive::Usb, Start { timeout_s: 60, entry: 0, is_serial: true }, |typist| {
                typist.reads(ENTRIES[3].title)?;
                for key in [DOWN, DOWN, DOWN, "\r"] {
                    typist.keys(key);
                }
                typist.reads("bandolier> memtest")?;
                typist.reads("memtest: seed")?;
                typist.keys(CTRL_C);
                // Nothing ends the machine: what was printed stays, and the prompt stands below it.
                typist.prompt().map(|_| Then::Quit)
            })
        }),
        Test::new("stick::enter-starts-an-entry-on-a-machine-with-screen-and-keyboard", with_keyboard),
        Test::new("stick::the-shell-starts-by-itself-from-a-disk-under-bios", || {
            started(Boot::Iso, Drive::Disk, Start { timeout_s: 1, ..Start::default() }, |typist| {
                typist.prompt().map(|_| Then::Quit)
            })
        }),
        Test::new("stick::stress-starts-from-a-cd-under-uefi", || {
            started(Boot::Uefi, Drive::Cd, Start { timeout_s: 1, entry: 2, is_serial: false }, |typist| {
                typist.reads("bandolier> stress 10m seed=1")?;
                typist.reads("stress: 1 s")?;
                typist.keys(CTRL_C);
                typist.prompt().map(|_| Then::Quit)
            })
        }),
    ];
    let every_way = [Boot::Iso, Boot::Uefi].into_iter().flat_map(|boot| {
        [Drive::Cd, Drive::Usb, Drive::Disk].into_iter().flat_map(move |drive| {
            (0..ENTRIES.len()).map(move |entry| {
                Test::new(format!("{EVERY_WAY}::{boot:?}-{drive:?}-{}", ENTRIES[entry].title), move || {
                    started(boot, drive, Start { timeout_s: 1, entry, is_serial: false }, |typist| {
                        match ENTRIES[entry].script.split(';').next().filter(|text| !text.is_empty()) {
                            // It has begun; how it goes on others test.
                            Some(command) => typist.reads(&format!("bandolier> {command}")).map(|()| Then::End),
                            None => typist.prompt().map(|_| Then::Quit),
                        }
                    })
                })
            })
        })
    });
    usual.into_iter().chain(every_way).collect()
}

/// What is left to do with a machine.
enum Then {
    /// To type `quit`.
    Quit,
    /// To end it where it is.
    End,
}

/// Boots the image, and does what `play` does.
fn started(boot: Boot, drive: Drive, start: Start, play: impl Fn(&mut Typist) -> Result<Then, Failure>) -> Outcome {
    let scratch = Scratch::new()?;
    let mut typist = match boot_image(boot, drive, start, &scratch, &[])? {
        Ok(typist) => typist,
        Err(why) => return Ok(Passed::Skipped(why)),
    };
    match play(&mut typist)? {
        Then::Quit => typist.quit().says("Limine")?.passes(),
        Then::End => Ok(Passed::Yes),
    }
}

/// A machine that boots the image, or why there is none.
fn boot_image(
    boot: Boot,
    drive: Drive,
    start: Start,
    scratch: &Scratch,
    qemu: &[String],
) -> Result<Result<Typist, String>, Failure> {
    if let Err(why) = image::limine_dir() {
        return Ok(Err(why.to_string()));
    }
    if boot == Boot::Uefi && host::ovmf().is_none() {
        return Ok(Err("OVMF is not installed".into()));
    }
    let image = scratch.file("stick.iso");
    let timeout = Duration::from_secs(180);
    let settings = Settings { boot, drive, mem: "128M".into(), timeout, qemu: qemu.into(), ..script(2, "") };
    if let Some(remark) = menu::build(&settings, start, &image)? {
        return Ok(Err(remark));
    }
    Typist::start(Settings { image: Some(image), ..settings }).map(Ok)
}

/// The menu as it is on the stick: on the screen, driven by the keyboard.
fn with_keyboard() -> Outcome {
    let scratch = Scratch::new()?;
    let socket = scratch.file("monitor");
    let monitor = format!("socket,id=keys,path={},server=on,wait=off", socket.display());
    let qemu = ["-vga", "std", "-chardev", &monitor, "-mon", "chardev=keys,mode=readline"].map(String::from);
    // Nothing would start by itself within the time that the machine has.
    let start = Start { timeout_s: 9999, entry: 3, is_serial: false };
    let mut typist = match boot_image(Boot::Iso, Drive::Disk, start, &scratch, &qemu)? {
        Ok(typist) => typist,
        Err(why) => return Ok(Passed::Skipped(why)),
    };
    let entered = || UnixStream::connect(&socket).and_then(|mut monitor| monitor.write_all(b"sendkey ret\n"));
    // Nobody says when the menu is there; a key that comes too early is nobody's.
    let started = Instant::now();
    while !typist.has_read("bandolier: entry", Duration::from_secs(1)) {
        typist.expect(started.elapsed() < LIMIT, "the kernel's entry after Enter in the menu")?;
        // The monitor takes one visitor at a time, and at first none.
        let _ = entered();
    }
    typist.reads("bandolier> memtest")?;
    Ok(Passed::Yes)
}
