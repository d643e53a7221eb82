//! The image for real machines: boots from a stick, a disk and a CD, under BIOS and UEFI, and its menu starts what it says.

use crate::support::{Failure, Outcome, Passed, Settings, Test, Typist, script};
use std::time::Duration;
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
            started(Boot::Iso, Drive::Usb, Start { timeout_s: 30, entry: 0 }, |typist| {
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
        Test::new("stick::the-shell-starts-by-itself-from-a-disk-under-bios", || {
            started(Boot::Iso, Drive::Disk, Start { timeout_s: 1, entry: 0 }, |typist| {
                typist.prompt().map(|_| Then::Quit)
            })
        }),
        Test::new("stick::stress-starts-from-a-cd-under-uefi", || {
            started(Boot::Uefi, Drive::Cd, Start { timeout_s: 1, entry: 2 }, |typist| {
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
                    started(boot, drive, Start { timeout_s: 1, entry }, |typist| {
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
    if let Err(why) = image::limine_dir() {
        return Ok(Passed::Skipped(why.to_string()));
    }
    if boot == Boot::Uefi && host::ovmf().is_none() {
        return Ok(Passed::Skipped("OVMF is not installed".into()));
    }
    let scratch = Scratch::new()?;
    let image = scratch.file("stick.iso");
    let settings = Settings { boot, drive, mem: "128M".into(), timeout: Duration::from_secs(180), ..script(2, "") };
    if let Some(remark) = menu::build(&settings, start, &image)? {
        return Ok(Passed::Skipped(remark));
    }
    let mut typist = Typist::start(Settings { image: Some(image), ..settings })?;
    match play(&mut typist)? {
        Then::Quit => typist.quit().says("Limine")?.passes(),
        Then::End => Ok(Passed::Yes),
    }
}
