//! What an allocator holds: its own count where it has one, else what the host says is resident beyond a start.

use std::fs;
use std::marker::PhantomData;

use workloads::Peer;

/// Bytes of a page of the host, and of a frame of ours.
const PAGE_BYTES: u64 = 4096;

/// Counts from the moment it is made.
pub(super) struct Resident<P> {
    at_start: u64,
    peer: PhantomData<P>,
}

impl<P: Peer> Resident<P> {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self { at_start: Self::absolute()?, peer: PhantomData })
    }

    fn absolute() -> Result<u64, String> {
        P::held_pages().map_or_else(resident_pages, Ok)
    }

    /// Bytes held now beyond the start.
    pub(super) fn bytes(&self) -> Result<u64, String> {
        Ok(Self::absolute()?.saturating_sub(self.at_start) * PAGE_BYTES)
    }
}

fn resident_pages() -> Result<u64, String> {
    let text = fs::read_to_string("/proc/self/statm").map_err(|error| format!("/proc/self/statm: {error}"))?;
    let word = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    word.ok_or_else(|| format!("/proc/self/statm says {text}"))
}

/// A page of 2 MiB would be resident for one object in it.
pub(super) fn no_huge_pages() {
    // SAFETY: a flag of this process.
    if unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } != 0 {
        eprintln!("huge pages stay on: {}", std::io::Error::last_os_error());
    }
}
