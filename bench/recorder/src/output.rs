//! A recording on its way to the disk: checked by the checker that the kernel has, and there as a whole or not at all.
//!
//! Called by: [`crate::record`].

use crate::error::{Error, IoExt};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use trace::Trace;
use trace::check::{ObjectState, Summary};

/// Where a recording will go.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    is_replaced: bool,
}

/// Makes a file that is not there, to be written.
type Opener = fn(&Path) -> io::Result<File>;

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// A file that is removed unless it gets its name.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Makes sure, before anything runs, that a file can be written there.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if `is_replaced` does not allow that; [`Error::NoFile`] if what is there is no plain file; the
    /// folder is not there or not ours.
    pub fn new(path: &Path, is_replaced: bool) -> Result<Output, Error> {
        let output = Output { path: path.into(), is_replaced };
        output.refuse_existing()?;
        output.partial(create_new).map(drop)?;
        Ok(output)
    }

    /// Checks `bytes` as the kernel will before it replays them, and writes them.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]; the disk is full. What stood there before is then still there.
    pub fn write(&self, bytes: &[u8]) -> Result<Summary, Error> {
        self.write_by(create_new, bytes)
    }

    fn write_by(&self, open: Opener, bytes: &[u8]) -> Result<Summary, Error> {
        let summary = check(bytes).map_err(Error::Refused)?;
        let mut partial = self.partial(open)?;
        partial.file.write_all(bytes).and_then(|()| partial.file.sync_all()).doing("write", &self.path)?;
        self.refuse_existing()?;
        fs::rename(&partial.path, &self.path).doing("write", &self.path)?;
        Ok(summary)
    }

    fn refuse_existing(&self) -> Result<(), Error> {
        match fs::symlink_metadata(&self.path) {
            // A rename would put a file where a device was: `--force /dev/null` would take that from the whole system.
            Ok(found) if !found.is_file() => Err(Error::NoFile { path: self.path.clone() }),
            Ok(_) if !self.is_replaced => Err(Error::Exists { path: self.path.clone() }),
            _ => Ok(()),
        }
    }

    fn partial(&self, open: Opener) -> Result<Partial, Error> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".partial-{}", std::process::id()));
        let path = PathBuf::from(name);
        let file = open(&path).doing("make", &path)?;
        Ok(Partial { path, file })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already where it got its name.
        let _ = fs::remove_file(&self.path);
    }
}

/// What is in a recording, if the kernel would accept it.
///
/// # Errors
///
/// What is wrong, and at which event.
pub fn check(bytes: &[u8]) -> Result<Summary, trace::fault::Damaged> {
    let trace = Trace::parse(bytes)?;
    let mut scratch = vec![ObjectState::NEW; trace.header().nr_objects as usize];
    trace.validate(&mut scratch).map(|checked| *checked.summary())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &[u8] = include_bytes!("../../../tests/data/fork-exec-small.kmt");

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("bandolier-output-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_recording_is_there_as_a_whole_and_nothing_beside_it() {
        let folder = folder("whole");
        let output = Output::new(&folder.join("a.kmt"), false).expect("a free name");
        assert_eq!(names(&folder), [""; 0]);
        assert_eq!(output.write(REAL).expect("room").nr_events, 21_504);
        assert_eq!(names(&folder), ["a.kmt"]);
        assert_eq!(fs::read(folder.join("a.kmt")).expect("the file"), REAL);
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn what_is_there_stays_unless_it_may_be_replaced() {
        let folder = folder("exists");
        let path = folder.join("a.kmt");
        fs::write(&path, "precious").expect("room");
        assert!(matches!(Output::new(&path, false), Err(Error::Exists { .. })));
        let output = Output::new(&path, true).expect("may be replaced");
        let damaged = &REAL[..REAL.len() - 8];
        assert!(matches!(output.write(damaged), Err(Error::Refused(_))));
        assert_eq!(fs::read(&path).expect("the file"), b"precious");
        output.write(REAL).expect("room");
        assert_eq!(fs::read(&path).expect("the file"), REAL);
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn what_is_no_plain_file_is_never_replaced() {
        let folder = folder("special");
        let (link, socket) = (folder.join("link.kmt"), folder.join("socket.kmt"));
        std::os::unix::fs::symlink("elsewhere", &link).expect("a link");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        for path in [&folder, &link, &socket] {
            for is_replaced in [false, true] {
                assert!(matches!(Output::new(path, is_replaced), Err(Error::NoFile { .. })), "{}", path.display());
            }
        }
        // One that came while the command ran.
        let late = folder.join("late.kmt");
        let output = Output::new(&late, true).expect("a free name");
        std::os::unix::fs::symlink("elsewhere", &late).expect("a link");
        assert!(matches!(output.write(REAL), Err(Error::NoFile { .. })));
        assert_eq!(names(&folder), ["late.kmt", "link.kmt", "socket.kmt"]);
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn a_folder_that_is_not_there_is_said_before_anything_runs() {
        let error = Output::new(Path::new("/nonexistent/a.kmt"), false).expect_err("no folder");
        assert!(error.to_string().contains("/nonexistent"), "{error}");
        assert_eq!(error.exit_code(), 125);
    }

    #[test]
    fn a_full_disk_leaves_nothing_but_what_stood_there_before() {
        // The name is there, and behind it there is no room for anything.
        let open: Opener = |path| {
            create_new(path)?;
            OpenOptions::new().write(true).open("/dev/full")
        };
        let folder = folder("full");
        let path = folder.join("full.kmt");
        for before in [None, Some("precious")] {
            if let Some(text) = before {
                fs::write(&path, text).expect("room");
            }
            let output = Output::new(&path, before.is_some()).expect("a free name");
            let error = output.write_by(open, REAL).expect_err("no room");
            let said = error.to_string();
            assert!(said.contains("cannot write") && said.contains("full.kmt"), "{said}");
            assert!(said.contains("No space left on device"), "{said}");
            assert_eq!(names(&folder), before.map_or(vec![], |_| vec!["full.kmt".to_string()]));
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), before);
        }
        fs::remove_dir_all(folder).expect("ours");
    }
}
