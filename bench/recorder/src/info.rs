//! `info`: a recording described, and drawn.
//!
//! Called by: the program.

use crate::charts;
use crate::description::Description;
use crate::error::{Error, IoExt};
use crate::options::{InfoRequest, Plot};
use crate::survey::Survey;
use std::path::{Path, PathBuf};

/// What is said, and where the plot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// For standard output.
    pub text: String,
    /// The plot's file.
    pub plot: Option<PathBuf>,
}

/// Describes a recording; plots go to `folder` unless told otherwise.
///
/// # Errors
///
/// [`Error::Damaged`] with the event that is wrong; a file that cannot be read or written.
pub fn describe(request: &InfoRequest, folder: &Path) -> Result<Info, Error> {
    let bytes = std::fs::read(&request.file).doing("read", &request.file)?;
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
