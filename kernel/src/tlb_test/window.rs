//! A page whose translation changes from version to version: what tells a stale translation.
//!
//! ```text
//!   frames   0   1   2 ...  N-1      version v lies in frame v % N, and its first word says v
//!                ^
//!   view ────────┘                   one address; its entry leads to the frame of the newest version
//! ```
//!
//! Whoever steps the window writes the next version into the next frame, changes the view's entry, and has everybody
//! acknowledge; then it raises `acknowledged`. A CPU that reads `acknowledged` first, and through the view after it, must
//! find that version or a later one. As a frame is used again only N versions later, a translation that missed up to
//! N - 1 rounds still shows an old number.
//!
//! The view's entry is changed here and not by the walker of `mm`: present to present, without a step between, which is
//! allowed as size and rights stay (Intel SDM volume 3, "Recommended Invalidation"). The view's own frame is put back
//! before the page is unmapped.

use core::sync::atomic::{AtomicU64, Ordering};

use arch::paging::{Entry, Level};
use arch::probe;
use mm::frame::{Frame, PAGE_SIZE};
use smp::{Hardware, PageRange, Round};

use super::verdict::Failure;
use crate::machine::{Cpu, HEAP, SHOOTDOWNS};
use crate::per_cpu;
use crate::space::{self, Attributes, Mapped};

/// Frames of a window.
const NR_FRAMES: usize = 8;

/// See the module. Steps are one CPU's at a time; anybody reads.
pub(super) struct Window {
    view: Option<Mapped>,
    frames: Option<Mapped>,
    entry: &'static AtomicU64,
    own: u64,
    newest: AtomicU64,
    acknowledged: AtomicU64,
}

impl Window {
    /// A window at version 1, which everybody sees.
    pub(super) fn new() -> Result<Self, Failure> {
        let frames = space::map(NR_FRAMES, Attributes::READ_WRITE)?;
        let view = match space::map(1, Attributes::READ_WRITE) {
            Ok(view) => view,
            Err(error) => {
                // SAFETY: ours, and nobody knows of them.
                unsafe { space::unmap(frames) };
                return Err(error.into());
            }
        };
        let entry = entry_of(view.start());
        let own = entry.load(Ordering::Relaxed);
        let (newest, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
        let window = Self { view: Some(view), frames: Some(frames), entry, own, newest, acknowledged };
        window.step(&Cpu);
        Ok(window)
    }

    /// Address of the view.
    pub(super) fn addr(&self) -> usize {
        self.view.as_ref().map_or(0, Mapped::start)
    }

    /// The pages of the view.
    pub(super) fn range(&self) -> PageRange {
        PageRange::new(self.addr(), 1).unwrap_or(PageRange::EMPTY)
    }

    /// Changes the translation, and tells nobody. Returns the new version.
    pub(super) fn change(&self) -> u64 {
        let version = self.newest.load(Ordering::Relaxed) + 1;
        let frames = self.frames.as_ref().map_or(0, Mapped::start);
        let page = frames + version as usize % NR_FRAMES * PAGE_SIZE;
        // SAFETY: a page of this window's own; others read it only, by probes.
        unsafe { (page as *mut u64).write_volatile(version) };
        // Release: the version lies in the frame before anybody can get there.
        self.entry.store(entry_of(page).load(Ordering::Relaxed), Ordering::Release);
        self.newest.store(version, Ordering::Relaxed);
        version
    }

    /// Changes the translation and begins a round.
    pub(super) fn begin(&self, hw: &impl Hardware) -> (u64, Round) {
        let version = self.change();
        (version, SHOOTDOWNS.begin(hw, core::iter::once(self.range())))
    }

    /// States that all CPUs have acknowledged this version.
    pub(super) fn acknowledge(&self, version: u64) {
        self.acknowledged.store(version, Ordering::Release);
    }

    /// Changes the translation and returns when all CPUs have acknowledged that.
    pub(super) fn step(&self, hw: &impl Hardware) {
        let (version, round) = self.begin(hw);
        SHOOTDOWNS.wait(hw, round);
        self.acknowledge(version);
    }

    /// What this CPU finds, which may be anything.
    pub(super) fn look(&self) -> Option<u64> {
        probe::read_u64(self.addr())
    }

    /// The newest version.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Reads on this CPU.
    ///
    /// # Errors
    ///
    /// [`Failure::Stale`] for less than what was acknowledged when this began.
    pub(super) fn read(&self) -> Result<u64, Failure> {
        // Before the page: what is acknowledged by now, this CPU must not see the predecessors of.
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        let cpu = per_cpu::this().cpu;
        let found = self.look().ok_or(Failure::Unreadable { cpu, addr: self.addr() })?;
        if found < acknowledged { Err(Failure::Stale { cpu, found, acknowledged }) } else { Ok(found) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.entry.store(self.own, Ordering::Relaxed);
        for mapped in [self.view.take(), self.frames.take()].into_iter().flatten() {
            // SAFETY: the window's own; whoever read it has stopped, as it is borrowed no more.
            unsafe { space::unmap(mapped) };
        }
    }
}

/// The entry that maps the page at `addr`, which is mapped.
fn entry_of(addr: usize) -> &'static AtomicU64 {
    let (mut level, mut table) = (Level::root(), space::root());
    loop {
        let frame = Frame::containing(table).unwrap_or_else(|| panic!("{table:#x} is no page table"));
        let entries = HEAP.frames().virt(frame).cast::<AtomicU64>();
        // SAFETY: tables of the dynamic area stay for good and are seen through the direct map; an index is below 512.
        let entry = unsafe { entries.add(level.index(addr)).as_ref() };
        let raw = Entry::from_raw(entry.load(Ordering::Relaxed));
        assert!(raw.is_present(), "{addr:#x} is not mapped: {raw:?} in {level:?}");
        match level.below() {
            Some(below) if !raw.is_leaf(level) => (level, table) = (below, raw.table_address()),
            Some(_) => panic!("{addr:#x} lies in a large page"),
            None => return entry,
        }
    }
}
