//! Unpacks the archive: every file on pages of its own, mostly by sliding it a little in place.
//!
//!     before   |hdr|kernel....|hdr|module a..|hdr|module b.....|zeroes|
//!     after |kernel....   |module a..   |module b.....   |  free again |
//!            ^ one page for each file below the archive: then no file ever moves up, and each may be copied
//!              downwards, in order, without touching the next one.
//!
//! A large archive is so never in memory twice. Where the pages below are taken, the files go elsewhere.
//! Called by: `boot`.

use loader::archive::{self, Name};
use loader::memory::{Kind, PAGE, Range};
use loader::protocol::{self, HHDM};

use super::fail::Refusal;
use super::physical::{LIMIT, slice};
use super::start_info::StartInfo;
use super::store::Store;

/// The files of the archive, as the protocol describes files; command lines are still empty.
pub(super) struct Files {
    list: &'static mut [protocol::File],
}

impl Files {
    /// The kernel's file.
    pub(super) fn kernel(&self) -> &'static [u8] {
        content(&self.list[0])
    }

    /// The kernel first, then the modules; at least one.
    pub(super) fn list(&self) -> &[protocol::File] {
        self.list
    }

    /// The path of a file, without the end mark.
    pub(super) fn path(file: &protocol::File) -> &'static [u8] {
        // SAFETY: `unpack` put a zero-terminated string of its own there, which nobody writes again.
        unsafe { core::ffi::CStr::from_ptr((file.path - HHDM) as *const core::ffi::c_char) }.to_bytes()
    }
}

fn content(file: &protocol::File) -> &'static [u8] {
    // SAFETY: `unpack` put the content there, below `LIMIT`, in pages that are nobody else's; nobody writes it again.
    unsafe { slice(file.address - HHDM, file.size as usize) }
}

/// Unpacks the archive of `start`.
pub(super) fn unpack(start: &StartInfo, store: &mut Store) -> Result<Files, Refusal> {
    let bytes = start.archive_bytes().ok_or(Refusal::NoArchive)?;
    let nr_files = archive::check(bytes)?;
    let list = store.array::<protocol::File>(nr_files)?;
    let mut needed = 0;
    for (file, entry) in list.iter_mut().zip(archive::entries(bytes)) {
        let entry = entry?;
        file.path = store.string(path(&entry.name))?;
        file.cmdline = store.string(core::iter::empty())?;
        file.address = start.archive.base + entry.offset as u64;
        file.size = entry.size as u64;
        needed += file.size.next_multiple_of(PAGE);
    }
    // The names are copied: from here on nobody reads the archive but by these addresses.

    let pages = start.archive.pages_around();
    let below = Range { base: pages.base.saturating_sub(nr_files as u64 * PAGE), end: pages.base };
    let base = if store.map.is_usable(below) {
        below.base
    } else {
        store.map.allocate(needed, PAGE, Kind::ExecutableAndModules, LIMIT)?
    };
    let mut end = base;
    for file in list.iter_mut() {
        // SAFETY:
        // - source: the file's content in the archive, not overwritten yet. Sliding, `end` is at most one page for
        //   each earlier file above `base`, so it is at or below the source of this file and below that of the next;
        // - target: usable memory, or the archive's own, or pages allocated for this; nobody else's either way;
        // - both are mapped, below `LIMIT`.
        unsafe { core::ptr::copy(file.address as *const u8, end as *mut u8, file.size as usize) };
        file.address = end + HHDM;
        end += file.size.next_multiple_of(PAGE);
    }
    for file in list.iter() {
        let rest = file.address - HHDM + file.size;
        // SAFETY: the rest of the file's last page, which is no other file's.
        unsafe { (rest as *mut u8).write_bytes(0, (rest.next_multiple_of(PAGE) - rest) as usize) };
    }
    store.map.release(pages, Kind::Reclaimable)?;
    store.map.claim(Range { base, end }, Kind::ExecutableAndModules)?;
    Ok(Files { list })
}

/// The protocol's path of a file: its name with a leading slash.
fn path<'a>(name: &Name<'a>) -> impl Iterator<Item = u8> + Clone + 'a {
    core::iter::once(b'/').chain(name.bytes())
}
