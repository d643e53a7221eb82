//! Folders for one run's files, removed when the run is over.
//!
//! They lie under the build folder (`target/run`), so that a run leaves nothing elsewhere; what a killed run left
//! behind is removed by the next. Names hold the process id and a counter: runs at the same time do not meet.

use crate::error::{self, Error};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The workspace: the folder that holds `Cargo.toml`, `tests/` and the rest.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The build folder: `CARGO_TARGET_DIR`, or `target` in the workspace.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => workspace().join(dir),
        _ => workspace().join("target"),
    }
}

/// A folder that is removed, with all in it, when the value is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty folder of its own.
    pub fn new() -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let runs = target_dir().join("run");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            sweep(&runs);
        }
        Ok(Self { path: error::create_dir(runs.join(format!("{}-{number}", std::process::id())))? })
    }

    /// The path of a file of that name in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on the removal: what stays behind lies in the build folder.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes what killed runs left behind: the folders of processes that are no more.
fn sweep(runs: &Path) {
    for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.split('-').next().and_then(|pid| pid.parse::<u32>().ok());
        if process.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_is_its_own_and_goes_away() {
        let (a, b) = (Scratch::new().unwrap(), Scratch::new().unwrap());
        assert_ne!(a.path(), b.path());
        let file = a.file("x");
        error::write(&file, b"x").unwrap();
        drop(a);
        assert!(!file.exists());
        assert!(b.path().exists());
    }

    #[test]
    fn what_a_killed_run_left_behind_is_swept() {
        let dir = Scratch::new().unwrap();
        let (dead, alive) = (dir.file("4294967295-0"), dir.file(&format!("{}-7", std::process::id())));
        error::create_dir(dead.clone()).unwrap();
        error::create_dir(alive.clone()).unwrap();
        sweep(dir.path());
        assert!(!dead.exists() && alive.exists());
    }
}
