//! `info`: a recording described, and drawn.
//!
//! Called by: the program.

use crate::charts;
use crate::description::Description;
use crate::error::{Error, IoExt};
use crate::options::{InfoRequest, Plot};
use crate::survey::Survey;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What is said, and where the plot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// For standard output.
    pub text: String,
    /// The plot's file.
    pub plot: Option<PathBuf>,
}

/// A file's bytes; of what does not begin as a recording, its first ones: it may be a whole disk, or have no end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(trace::HEADER_LEN as u64).read_to_end(&mut bytes)?;
    if bytes.starts_with(&trace::MAGIC) {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Describes a recording; plots go to `folder` unless told otherwise.
///
/// # Errors
///
/// [`Error::Damaged`] with the event that is wrong; a file that cannot be read or written.
pub fn describe(request: &InfoRequest, folder: &Path) -> Result<Info, Error> {
    let bytes = read(&request.file).doing("read", &request.file)?;
    let damaged = |what| Error::Damaged { path: request.file.clone(), what };
    let survey = Survey::of(&bytes).map_err(damaged)?;
    let name = request.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let description = Description { name: &name, survey: &survey };
    let mut text = String::new();
    if request.is_json {
        // A string takes everything.
        let _ = description.json(&mut text);
    } else {
        text = description.to_string();
    }
    let plot = match &request.plot {
        Plot::None => None,
        Plot::To(path) => Some(path.clone()),
        Plot::Default => {
            let stem = request.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            Some(folder.join(format!("{stem}.svg")))
        }
    };
    if let Some(path) = &plot {
        charts::write(&name, &survey, path)?;
    }
    Ok(Info { text, plot })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recording_is_not_read_to_its_end() {
        let request = InfoRequest { file: "/dev/zero".into(), is_json: false, plot: Plot::None };
        let error = describe(&request, Path::new(".")).expect_err("no recording");
        assert!(error.to_string().starts_with("/dev/zero: not a recording"), "{error}");
    }
}
