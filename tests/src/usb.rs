//! Writes an image to a USB stick, and to nothing else by accident.
//!
//! Shown before anything is written: what the device is and what is on it; and its name has to be typed. A device that is
//! mounted, in use, write-protected, too small or only a part of one is refused whatever is typed; one that is neither
//! removable nor on USB, or that may be built in, is refused unless the word [`EVEN_IF_NOT_REMOVABLE`] is given. Afterwards the stick is read back
//! and compared.
//!
//! The question may wait for minutes. So the image is in memory and the device is held open before it is asked, and after
//! the answer the device must still be, in all that is known of it, the one that was shown.

mod device;
mod transfer;

pub use device::{Device, Refusal};
use transfer::{ReadFrom, Target};

use crate::error::{self, Error};
use std::io::{self, BufRead, Write};
use std::path::Path;

/// The word that lets an internal disk through.
pub const EVEN_IF_NOT_REMOVABLE: &str = "even-if-not-removable";

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Written, and read back alike.
    Written,
    /// Nothing was written.
    Untouched,
}

/// Writes `image` to the device at `path`, after questions on standard output and an answer from `answers`.
pub fn run(image: &Path, path: &Path, word: Option<&str>, answers: &mut dyn BufRead) -> Result<End, Error> {
    let lets_internal = match word {
        None => false,
        Some(EVEN_IF_NOT_REMOVABLE) => true,
        Some(other) => return Err(Error::setting("usb", other, EVEN_IF_NOT_REMOVABLE)),
    };
    let bytes = match error::read(image) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(Error::missing(image.display().to_string(), "run `just image`"));
        }
        read => read?,
    };
    let nr_bytes = bytes.len() as u64;
    let found = match Device::find(path) {
        Ok(device) => device,
        Err(refusal) => {
            println!("{}: {refusal}. Nothing was written.", path.display());
            return Ok(End::Untouched);
        }
    };
    print!("{found}");
    let refusals = found.refusals(nr_bytes, lets_internal);
    for refusal in &refusals {
        println!("{}: {refusal}.", found.path);
    }
    if !refusals.is_empty() {
        println!("Nothing was written.");
        return Ok(End::Untouched);
    }
    // Held from here to the end, so that the name cannot become another device's while somebody thinks.
    let mut target = Target::open(Path::new(&found.path))?;
    println!("ALL OF THIS WILL BE LOST, replaced by {} ({nr_bytes} bytes).", image.display());
    print!("Type {} to go on, anything else to leave it: ", found.name);
    let _ = io::stdout().flush();
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(|source| Error::Io { doing: "read the answer".into(), source })?;
    if answer.trim() != found.name {
        println!("That is not {}. Nothing was written.", found.name);
        return Ok(End::Untouched);
    }
    // What was shown, what is there now and what is held must be the same.
    if Device::find(path).as_ref() != Ok(&found) || target.number()? != found.number {
        println!("{} is not what was shown any more. Nothing was written.", path.display());
        return Ok(End::Untouched);
    }
    target.write(&bytes, &mut progress("written"))?;
    let from = match target.verify(&bytes, &mut progress("read back"))? {
        ReadFrom::Device => "from the device itself",
        ReadFrom::Memory => "but perhaps from this system's memory: there is no way past it here",
    };
    println!("{}: written and read back, {nr_bytes} bytes, {from}. It can be taken out.", found.path);
    Ok(End::Written)
}

/// Says how far it is, at most once for each percent.
fn progress(what: &str) -> impl FnMut(usize, usize) + use<'_> {
    let mut last = usize::MAX;
    move |nr_done, nr_all| {
        let percent = nr_done * 100 / nr_all.max(1);
        if percent != last {
            last = percent;
            print!("\r{percent:3} % {what}{}", if nr_done == nr_all { "\n" } else { "" });
            let _ = io::stdout().flush();
        }
    }
}
