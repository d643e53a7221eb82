//! Bytes to a device and back.

use crate::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes at a time.
const BLOCK: usize = 1 << 20;
/// Linux, for a block device: fail if it is in use. (open(2), O_EXCL; the value is the same on all architectures but a few
/// that no PC has.)
const O_EXCL: i32 = 0o200;
/// Linux on x86-64: read from the device, not from memory. (open(2), O_DIRECT.)
const O_DIRECT: i32 = if cfg!(target_arch = "x86_64") { 0o40000 } else { 0 };
/// What O_DIRECT wants of addresses and lengths, at most.
const ALIGNMENT: usize = 4096;

/// Writes `bytes` to the start of `target`, and returns when the device has them.
pub(super) fn write(bytes: &[u8], target: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
    let wrong = |source| Error::io("write", target, source);
    let mut file = OpenOptions::new().write(true).custom_flags(O_EXCL).open(target).map_err(wrong)?;
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

/// Reads the start of `target` from the device itself, and compares it with `bytes`.
pub(super) fn verify(bytes: &[u8], target: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
    let wrong = |source| Error::io("read back", target, source);
    let direct = OpenOptions::new().read(true).custom_flags(O_DIRECT).open(target);
    // Some file systems know no such thing; block devices do.
    let mut file = direct.or_else(|_| File::open(target)).map_err(wrong)?;
    let mut room = vec![0u8; BLOCK + ALIGNMENT];
    let skip = room.as_ptr().align_offset(ALIGNMENT);
    let place = &mut room[skip..skip + BLOCK];
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        progress(index * BLOCK, bytes.len());
        let nr_read = read_up_to(&mut file, place).map_err(wrong)?;
        let same = block.iter().zip(&place[..nr_read]).take_while(|(wanted, found)| wanted == found).count();
        if same < block.len() {
            let at = index * BLOCK + same;
            let said = format!("byte {at} is not what was written: the device is broken or smaller than it says");
            return Err(Error::Tool { command: target.display().to_string(), said });
        }
    }
    progress(bytes.len(), bytes.len());
    Ok(())
}

/// Fills `place`, as far as the file goes.
fn read_up_to(file: &mut File, place: &mut [u8]) -> io::Result<usize> {
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
        write(&wanted, &target, &mut |nr_done, _| shown.push(nr_done)).expect("written");
        verify(&wanted, &target, &mut |_, _| {}).expect("alike");
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
        let said = verify(&wanted, &target, &mut |_, _| {}).expect_err("a difference").to_string();
        assert!(said.contains(&format!("byte {} is not", BLOCK + 4567)), "{said}");
        std::fs::write(&target, &wanted[..BLOCK + 5000]).expect("a file");
        assert!(verify(&wanted, &target, &mut |_, _| {}).is_err());
    }

    #[test]
    fn a_device_that_is_not_there_is_not_made() {
        let scratch = Scratch::new().expect("a folder");
        let target = scratch.file("stick");
        assert!(write(&bytes(10), &target, &mut |_, _| {}).is_err() && !target.exists());
    }
}
