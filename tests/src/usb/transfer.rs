//! Bytes to a device and back, through one open file from before the question to the end.

use crate::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes at a time.
const BLOCK: usize = 1 << 20;
/// Linux, for a block device: fail if it is in use. (open(2), O_EXCL; the value is the same on all architectures but a few
/// that no PC has.)
const O_EXCL: i32 = 0o200;
/// Linux on x86-64: read from the device, not from memory. (open(2), O_DIRECT, which is another bit elsewhere.)
const O_DIRECT: Option<i32> = if cfg!(target_arch = "x86_64") { Some(0o40000) } else { None };
/// What O_DIRECT wants of addresses and lengths, at most.
const ALIGNMENT: usize = 4096;

/// Where what was read back came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadFrom {
    /// The device itself.
    Device,
    /// Perhaps this system's memory, which still had what was written: there was no way past it.
    Memory,
}

/// A device that is held: while this value lives nobody can mount it, or open it exclusively as well, and its number is
/// given to no other one, even if it is pulled out.
pub(super) struct Target {
    path: PathBuf,
    file: File,
}

impl Target {
    /// Opens the device at `path`, which is not in use, for reading and writing. Writes nothing.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(O_EXCL).open(path);
        file.map(|file| Self { path: path.into(), file }).map_err(|source| Error::io("open", path, source))
    }

    /// The number of the device that is held, in the form of `lsblk`.
    pub(super) fn number(&self) -> Result<String, Error> {
        let rdev = self.file.metadata().map_err(|source| Error::io("look at", &self.path, source))?.rdev();
        // Linux: 12 and 20 bits, each in two pieces. (makedev(3))
        let (major, minor) = (rdev >> 8 & 0xfff | rdev >> 32 & !0xfff, rdev & 0xff | rdev >> 12 & !0xff);
        Ok(format!("{major}:{}", minor as u32))
    }

    /// Writes `bytes` to its start, and returns when the device has them.
    pub(super) fn write(&mut self, bytes: &[u8], progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
        let wrong = |source| Error::io("write", &self.path, source);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).map_err(wrong)?;
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            progress(index * BLOCK, bytes.len());
            file.write_all(block).map_err(wrong)?;
            // So that what is shown is what is done, and not what lies in memory.
            file.sync_data().map_err(wrong)?;
        }
        file.sync_all().map_err(wrong)?;
        progress(bytes.len(), bytes.len());
        Ok(())
    }

    /// Reads its start, from the device itself if there is a way, and compares it with `bytes`.
    pub(super) fn verify(&self, bytes: &[u8], progress: &mut dyn FnMut(usize, usize)) -> Result<ReadFrom, Error> {
        match self.past_memory() {
            Some(direct) => self.compare(bytes, &direct, progress).map(|()| ReadFrom::Device),
            None => self.compare(bytes, &self.file, progress).map(|()| ReadFrom::Memory),
        }
    }

    /// The same device again, to be read past this system's memory. Some file systems know no such thing; block devices
    /// do.
    fn past_memory(&self) -> Option<File> {
        // By the descriptor and not by the name, which may be another device's by now.
        let held = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        OpenOptions::new().read(true).custom_flags(O_DIRECT?).open(held).ok()
    }

    fn compare(&self, bytes: &[u8], mut file: &File, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
        let wrong = |source| Error::io("read back", &self.path, source);
        file.seek(SeekFrom::Start(0)).map_err(wrong)?;
        let mut room = vec![0u8; BLOCK + ALIGNMENT];
        let skip = room.as_ptr().align_offset(ALIGNMENT);
        let place = &mut room[skip..skip + BLOCK];
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            progress(index * BLOCK, bytes.len());
            let nr_read = read_up_to(file, place).map_err(wrong)?;
            let same = block.iter().zip(&place[..nr_read]).take_while(|(wanted, found)| wanted == found).count();
            if same < block.len() {
                let at = index * BLOCK + same;
                let said = format!("byte {at} is not what was written: the device is broken or smaller than it says");
                return Err(Error::Tool { command: self.path.display().to_string(), said });
            }
        }
        progress(bytes.len(), bytes.len());
        Ok(())
    }
}

/// Fills `place`, as far as the file goes.
fn read_up_to(mut file: &File, place: &mut [u8]) -> io::Result<usize> {
    let mut nr_read = 0;
    while nr_read < place.len() {
        match file.read(&mut place[nr_read..])? {
            0 => break,
            nr => nr_read += nr,
        }
        // Direct reads go on at a multiple of the device's blocks, or not at all.
        if !nr_read.is_multiple_of(ALIGNMENT) {
            break;
        }
    }
    Ok(nr_read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn bytes(nr: usize) -> Vec<u8> {
        (0..nr).map(|index| (index * 31 % 251) as u8).collect()
    }

    #[test]
    fn what_is_written_is_read_back_and_the_rest_is_left() {
        let scratch = Scratch::new().expect("a folder");
        let target = scratch.file("stick");
        std::fs::write(&target, vec![0xee; 3 * BLOCK]).expect("a file");
        let (wanted, mut shown) = (bytes(2 * BLOCK + 777), Vec::new());
        let mut held = Target::open(&target).expect("ours");
        held.write(&wanted, &mut |nr_done, _| shown.push(nr_done)).expect("written");
        held.verify(&wanted, &mut |_, _| {}).expect("alike");
        assert_eq!(shown, [0, BLOCK, 2 * BLOCK, wanted.len()]);
        let found = std::fs::read(&target).expect("a file");
        assert!(found.len() == 3 * BLOCK && found[..wanted.len()] == wanted[..]);
        assert!(found[wanted.len()..].iter().all(|&byte| byte == 0xee));
    }

    #[test]
    fn a_byte_that_changed_and_an_end_too_soon_are_found() {
        let scratch = Scratch::new().expect("a folder");
        let target = scratch.file("stick");
        let wanted = bytes(BLOCK + 10_000);
        let mut found = wanted.clone();
        found[BLOCK + 4567] ^= 1;
        std::fs::write(&target, &found).expect("a file");
        let held = Target::open(&target).expect("ours");
        let said = held.verify(&wanted, &mut |_, _| {}).expect_err("a difference").to_string();
        assert!(said.contains(&format!("byte {} is not", BLOCK + 4567)), "{said}");
        std::fs::write(&target, &wanted[..BLOCK + 5000]).expect("a file");
        assert!(held.verify(&wanted, &mut |_, _| {}).is_err());
    }

    #[test]
    fn a_name_that_is_another_file_s_meanwhile_is_not_followed() {
        let scratch = Scratch::new().expect("a folder");
        let (target, away) = (scratch.file("stick"), scratch.file("shown"));
        std::fs::write(&target, vec![0xee; BLOCK]).expect("a file");
        let mut held = Target::open(&target).expect("ours");
        std::fs::rename(&target, &away).expect("ours");
        std::fs::write(&target, "precious").expect("a file");
        let wanted = bytes(BLOCK - 100);
        held.write(&wanted, &mut |_, _| {}).expect("written");
        held.verify(&wanted, &mut |_, _| {}).expect("alike");
        assert_eq!(std::fs::read(&target).expect("a file"), b"precious");
        assert!(std::fs::read(&away).expect("a file")[..wanted.len()] == wanted[..]);
    }

    #[test]
    fn numbers_are_those_that_the_system_has() {
        let null = Target::open(Path::new("/dev/null")).expect("every Linux has it");
        assert_eq!(null.number().expect("a number"), "1:3");
    }

    #[test]
    fn a_device_that_is_not_there_is_not_made() {
        let scratch = Scratch::new().expect("a folder");
        let target = scratch.file("stick");
        assert!(Target::open(&target).is_err() && !target.exists());
    }
}
