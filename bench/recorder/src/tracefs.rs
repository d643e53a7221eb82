//! Where tracefs is, and its small files.
//!
//! Called by: [`crate::instance`] and [`crate::record`].

use crate::error::{Error, IoExt};
use crate::format::EventFormat;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A mounted tracefs.
#[derive(Clone, Debug)]
pub struct Tracefs {
    root: PathBuf,
}

impl Tracefs {
    /// The one at `root`, or the first that is mounted.
    ///
    /// # Errors
    ///
    /// [`Error::NoTracefs`]; [`Error::NotPermitted`] where it is there but not for us.
    pub fn find(root: Option<&Path>) -> Result<Tracefs, Error> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let found = root.map(Path::to_owned).or_else(|| mounted(&mounts));
        let root = found.ok_or(Error::NoTracefs { at: None })?;
        match fs::metadata(root.join("instances")) {
            Ok(_) => Ok(Tracefs { root }),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(Error::NotPermitted { path: root })
            }
            Err(_) => Err(Error::NoTracefs { at: Some(root) }),
        }
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The format of an event of the group `kmem`; nothing if this kernel does not have it.
    ///
    /// # Errors
    ///
    /// The file cannot be read or understood.
    pub fn event_format(&self, name: &str) -> Result<Option<EventFormat>, Error> {
        let path = self.path(&format!("events/kmem/{name}/format"));
        match fs::File::open(&path).and_then(whole) {
            Ok(text) => Ok(Some(EventFormat::parse(name, &text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("read", &path),
        }
    }
}

/// The first mount of type tracefs in `/proc/mounts`, whose second word is a path with spaces as `\040`.
fn mounted(mounts: &str) -> Option<PathBuf> {
    let is_tracefs = |line: &&str| line.split_whitespace().nth(2) == Some("tracefs");
    let line = mounts.lines().find(is_tracefs)?;
    Some(line.split_whitespace().nth(1)?.replace("\\040", " ").into())
}

/// Writes a setting: one write, no file made.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), Error> {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|mut file| file.write_all(value.as_bytes())).doing(&format!("write `{value}` to"), path)
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::File::open(path).and_then(whole).doing("read", path)
}

/// All of a file, in large pieces: some of these files are empty from the second read on, however little the first took.
fn whole(mut file: fs::File) -> std::io::Result<String> {
    let (mut text, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            length => text.extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tracefs_among_the_mounts_is_taken() {
        let mounts =
            "proc /proc proc rw 0 0\nnone /mnt/a\\040b tracefs rw 0 0\nnodev /sys/kernel/tracing tracefs rw 0 0\n";
        assert_eq!(mounted(mounts), Some(PathBuf::from("/mnt/a b")));
        assert_eq!(mounted("tracefs /x sysfs rw 0 0\n"), None);
    }

    #[test]
    fn a_folder_that_is_no_tracefs_is_named() {
        let error = Tracefs::find(Some(Path::new("/proc"))).expect_err("no tracefs");
        assert!(error.to_string().contains("/proc"), "{error}");
    }
}
