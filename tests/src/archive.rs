//! Writes the archive that the direct loader takes as its initrd: ustar, the kernel first, each further file a module.
//!
//! The format is POSIX.1-1988's `ustar` (a 512-byte header before each file, contents padded to 512 bytes, two zero
//! blocks at the end), so that plain `tar` can list and make such archives too.

use crate::error::{self, Error};
use std::path::Path;

const BLOCK: usize = 512;

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Appends a file. The name must fit the header's 100 bytes and the size its 11 octal digits.
    pub fn add(&mut self, name: &str, contents: &[u8]) -> Result<(), Error> {
        if name.is_empty() || name.len() > 100 {
            return Err(Error::setting("modules", name, "a file name of 1 to 100 bytes"));
        }
        if contents.len() as u64 >= 1 << 33 {
            return Err(Error::setting("modules", name, "a file below 8 GiB"));
        }
        self.bytes.extend_from_slice(&header(name, contents.len()));
        self.bytes.extend_from_slice(contents);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// Appends a file from the host under its own file name.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        self.add(&file_name(path), &error::read(path)?)
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

/// The last component of a path: the name under which the kernel knows a module.
pub fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut h = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| h[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    // The checksum is taken with its own field read as spaces.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = h.iter().map(|&b| u32::from(b)).sum();
    h[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    h
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::process::Command;

    #[test]
    fn tar_reads_back_what_was_written() {
        let dir = Scratch::new().unwrap();
        let mut archive = Archive::default();
        archive.add("kernel", b"first").unwrap();
        archive.add("empty.kmt", b"").unwrap();
        archive.add("big.kmt", &vec![7; 1000]).unwrap();
        error::write(&dir.file("a.tar"), &archive.finish()).unwrap();

        let list = Command::new("tar").arg("-tf").arg(dir.file("a.tar")).output().unwrap();
        assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
        assert_eq!(String::from_utf8_lossy(&list.stdout), "kernel\nempty.kmt\nbig.kmt\n");
        let unpack = Command::new("tar").arg("-xf").arg(dir.file("a.tar")).arg("-C").arg(dir.path()).status().unwrap();
        assert!(unpack.success());
        assert_eq!(error::read(&dir.file("kernel")).unwrap(), b"first");
        assert_eq!(error::read(&dir.file("big.kmt")).unwrap(), vec![7; 1000]);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(Archive::default().add(&"x".repeat(101), b"").is_err());
        assert!(Archive::default().add("", b"").is_err());
    }
}
