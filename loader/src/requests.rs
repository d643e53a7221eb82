//! Finds the base revision tag and the requests in a loaded kernel.
//!
//! The image is searched word by word. Only what lies between the last start marker and the first end marker counts,
//! where there are markers: mandatory from base revision 2 on, and harmless before. Two tags, or two requests with one
//! id, are refused, as the specification demands.
//!
//! Called by: the binary's `boot`; its `answers` fill in what is found here.

use core::fmt;

use crate::protocol::{BASE_REVISION_MAGIC, COMMON_MAGIC, END_MARKER, Id, NEWEST_REVISION, START_MARKER};

/// Requests a kernel may make; the protocol knows about twenty.
const MAX_REQUESTS: usize = 64;

/// Why a kernel's requests were refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// Two base revision tags.
    TwoRevisionTags,
    /// Two requests with this id.
    Duplicate {
        /// Words 2 and 3 of both.
        id: Id,
    },
    /// More than 64 requests.
    TooMany,
    /// The `.limine_reqs` section of a revision 0 kernel points out of the image.
    BadSection,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TwoRevisionTags => write!(f, "kernel: more than one base revision tag"),
            Self::Duplicate { id: [a, b] } => write!(f, "kernel: more than one request {a:#018x} {b:#018x}"),
            Self::TooMany => write!(f, "kernel: more than {MAX_REQUESTS} requests"),
            Self::BadSection => write!(f, "kernel: .limine_reqs points outside of the image"),
        }
    }
}

/// What a kernel asks for. Positions are word indices into the image that was searched.
#[derive(Clone, Debug)]
pub struct Requests {
    tag: Option<usize>,
    found: [usize; MAX_REQUESTS],
    nr_found: usize,
    /// Base revision the kernel is loaded with.
    pub revision: u64,
}

impl Requests {
    /// Searches `image`.
    ///
    /// # Errors
    /// `TwoRevisionTags`, `Duplicate`, `TooMany`.
    pub fn find(image: &[u64]) -> Result<Self, RequestError> {
        let mut requests = Self { tag: None, found: [0; MAX_REQUESTS], nr_found: 0, revision: 0 };
        for (at, &word) in image.iter().enumerate() {
            // One comparison each for the words that are none of it: nearly all.
            if word == START_MARKER[0] && image[at..].starts_with(&START_MARKER) {
                requests.tag = None;
                requests.nr_found = 0;
            } else if word == END_MARKER[0] && image[at..].starts_with(&END_MARKER) {
                break;
            } else if word == BASE_REVISION_MAGIC[0] && image[at..].starts_with(&BASE_REVISION_MAGIC) {
                if image.get(at + 2).is_some() && requests.tag.replace(at).is_some() {
                    return Err(RequestError::TwoRevisionTags);
                }
            } else if word == COMMON_MAGIC[0] && image[at..].starts_with(&COMMON_MAGIC) && image.len() - at >= 6 {
                requests.add(image, at)?;
            }
        }
        requests.revision = requests.tag.map_or(0, |tag| image[tag + 2].min(NEWEST_REVISION));
        Ok(requests)
    }

    /// Replaces what was found by the list in a `.limine_reqs` section: word positions of requests.
    ///
    /// # Errors
    /// `BadSection` for a position outside of the image; `Duplicate`, `TooMany`.
    pub fn replace(&mut self, image: &[u64], list: impl Iterator<Item = Option<usize>>) -> Result<(), RequestError> {
        self.nr_found = 0;
        for at in list {
            let at = at.filter(|&at| image.len().saturating_sub(at) >= 6).ok_or(RequestError::BadSection)?;
            self.add(image, at)?;
        }
        Ok(())
    }

    fn add(&mut self, image: &[u64], at: usize) -> Result<(), RequestError> {
        let id = [image[at + 2], image[at + 3]];
        if self.position(image, id).is_some() {
            return Err(RequestError::Duplicate { id });
        }
        *self.found.get_mut(self.nr_found).ok_or(RequestError::TooMany)? = at;
        self.nr_found += 1;
        Ok(())
    }

    /// Position of the request with this id.
    pub fn position(&self, image: &[u64], id: Id) -> Option<usize> {
        self.found[..self.nr_found].iter().copied().find(|&at| [image[at + 2], image[at + 3]] == id)
    }

    /// Answers the base revision tag: word 1 becomes the revision in force, word 2 zero if that is the one asked for.
    pub fn answer_tag(&self, image: &mut [u64]) {
        if let Some(tag) = self.tag {
            image[tag + 1] = self.revision;
            if image[tag + 2] == self.revision {
                image[tag + 2] = 0;
            }
        }
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
