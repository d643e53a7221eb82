//! A player: plays its stream, event by event, each when its turn has come.
//!
//! The turn is the index of the next event to start. Whoever plays that event counts its bytes, passes the turn on, and
//! then does the work; so starts are in the recorded order, and the work of several CPUs overlaps.

use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use kernel::trace::Action;
use mm::error::Error;
use smp::CpuId;
use spin::Once;

use super::object::{self, Corrupt, Objects};
use super::score::{Refusal, Score, try_vec};
use crate::machine::{self, HEAP};
use crate::{input, per_cpu};

/// Looks on while a player plays.
pub(crate) trait Watcher {
    /// Does `work`, which is the allocation or the free of an event and nothing else.
    #[inline(always)]
    fn during<R>(&mut self, _action: Action, work: impl FnOnce() -> R) -> R {
        work()
    }

    /// Now and then; the last event that was played is number `index`.
    fn look(&mut self, _index: u32) {}
}

/// Nobody looks on.
pub(crate) struct Unwatched;

impl Watcher for Unwatched {}

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// The allocator had nothing left, or refused a free.
    Refused { event: u32, error: Error },
    /// An object was not what it should be.
    Corrupt(Corrupt),
    /// Somebody typed Ctrl-C.
    Stopped,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { event, error } => write!(f, "event {event}: {error}"),
            Self::Corrupt(corrupt) => write!(f, "{corrupt}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// What the players share.
pub(crate) struct Stage<'a> {
    score: &'a Score<'a, 'a>,
    /// Address of each live object; 0 before its allocation is done, and after its free.
    objects: Vec<AtomicUsize>,
    /// The event that starts next.
    turn: CachePadded<AtomicU64>,
    /// Written by whoever has the turn.
    live_bytes: AtomicU64,
    peak_live_bytes: AtomicU64,
    frames_at_peak: AtomicU64,
    /// Frames in use before the first event.
    frames_before: u64,
    nr_events: AtomicU64,
    is_over: AtomicBool,
    failure: Once<Failure>,
}

/// How it ended.
pub(crate) struct End {
    pub(crate) nr_events: u64,
    pub(crate) peak_live_bytes: u64,
    pub(crate) frames_at_peak: u64,
    /// Objects that were still there at the end.
    pub(crate) nr_lost: u64,
    pub(crate) failure: Option<Failure>,
}

impl End {
    /// Whether all of `score` was played, as it was recorded.
    pub(crate) fn is_whole(&self, score: &Score<'_, '_>) -> bool {
        let summary = score.checked.summary();
        let is_same_peak = self.peak_live_bytes == summary.peak_live_bytes;
        self.nr_events == summary.nr_events && self.nr_lost == 0 && self.failure.is_none() && is_same_peak
    }
}

/// Frames that are neither free nor waiting in a page magazine.
fn frames_in_use() -> u64 {
    let frames = HEAP.frames();
    frames.nr_managed() - frames.nr_free() - HEAP.page_counters().nr_frames
}

impl<'a> Stage<'a> {
    /// For one replay of `score`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Tables`].
    pub(crate) fn new(score: &'a Score<'a, 'a>) -> Result<Self, Refusal> {
        let objects = try_vec(score.checked.objects().len(), || AtomicUsize::new(0))?;
        Ok(Self {
            score,
            objects,
            turn: CachePadded::new(AtomicU64::new(0)),
            live_bytes: AtomicU64::new(0),
            peak_live_bytes: AtomicU64::new(0),
            frames_at_peak: AtomicU64::new(0),
            frames_before: frames_in_use(),
            nr_events: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            failure: Once::new(),
        })
    }

    /// Makes it ready for another replay of the same. The last one has [ended](Self::end).
    pub(crate) fn rewind(&mut self) {
        for count in [&mut *self.turn, &mut self.live_bytes, &mut self.peak_live_bytes, &mut self.nr_events] {
            *count.get_mut() = 0;
        }
        *self.frames_at_peak.get_mut() = 0;
        self.frames_before = frames_in_use();
        *self.is_over.get_mut() = false;
        self.failure = Once::new();
    }

    fn fail(&self, failure: Failure) {
        self.failure.call_once(|| failure);
        self.is_over.store(true, Ordering::Release);
    }

    /// Waits until `is_due`; false if the replay is over first.
    fn wait_until(&self, is_due: impl Fn() -> bool) -> bool {
        machine::wait_until(is_due, || {
            // With more virtual CPUs than cores a turn may be a tenth of a second in coming, and hundreds of them minutes.
            if per_cpu::this().cpu == CpuId::BOOT && input::was_cancelled() {
                self.fail(Failure::Stopped);
            }
            self.is_over.load(Ordering::Acquire)
        })
    }

    /// Counts the bytes of the event whose turn it is.
    fn count(&self, action: Action, size_bytes: u32) {
        let live = self.live_bytes.load(Ordering::Relaxed);
        let live = match action {
            Action::Alloc => live + u64::from(size_bytes),
            Action::Free => live - u64::from(size_bytes),
        };
        self.live_bytes.store(live, Ordering::Relaxed);
        if live > self.peak_live_bytes.load(Ordering::Relaxed) {
            self.peak_live_bytes.store(live, Ordering::Relaxed);
        }
    }

    /// Plays event number `index`; false if the replay is over.
    #[inline(always)]
    fn play<O: Objects>(&self, index: u32, watcher: &mut impl Watcher) -> bool {
        if !self.wait_until(|| self.turn.load(Ordering::Acquire) == u64::from(index)) {
            return false;
        }
        let checked = &self.score.checked;
        let event = checked.trace().event(index.into()).expect("the plan names events of the recording");
        let object = &checked.objects()[event.id as usize];
        self.count(event.action, object.size_bytes());
        // Release: the next player sees the counts.
        self.turn.store(u64::from(index) + 1, Ordering::Release);
        let place = &self.objects[event.id as usize];
        match event.action {
            Action::Alloc => match watcher.during(event.action, || object::alloc::<O>(object)) {
                Ok(at) => {
                    object::write_stamps(event.id, object, at);
                    // Release: whoever frees it sees the stamps.
                    place.store(at.as_ptr().expose_provenance(), Ordering::Release);
                }
                Err(error) => {
                    self.fail(Failure::Refused { event: index, error });
                    return false;
                }
            },
            Action::Free => {
                if !self.wait_until(|| place.load(Ordering::Acquire) != 0) {
                    return false;
                }
                self.free::<O>(index, event.id, watcher);
            }
        }
        if u64::from(index) == self.score.peak_event {
            self.frames_at_peak.store(frames_in_use().saturating_sub(self.frames_before), Ordering::Relaxed);
        }
        true
    }

    fn free<O: Objects>(&self, index: u32, id: u32, watcher: &mut impl Watcher) {
        let object = &self.score.checked.objects()[id as usize];
        let addr = self.objects[id as usize].swap(0, Ordering::Acquire);
        let Some(at) = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(addr)) else { return };
        if let Err(corrupt) = object::check_stamps(id, object, at) {
            self.fail(Failure::Corrupt(corrupt));
        }
        // SAFETY: the recording frees each object once, so it is this player's to free.
        if let Err(error) = watcher.during(Action::Free, || unsafe { object::free::<O>(object, at) }) {
            self.fail(Failure::Refused { event: index, error });
        }
    }

    /// Frees what is still there, and says how it went. All players have ended, and got their objects from `O`.
    pub(crate) fn end<O: Objects>(&self) -> End {
        let nr_lost = self.objects.iter().filter(|place| place.load(Ordering::Acquire) != 0).count() as u64;
        for id in 0..self.objects.len() {
            self.free::<O>(u32::MAX, id as u32, &mut Unwatched);
        }
        End {
            nr_events: self.nr_events.load(Ordering::Relaxed),
            peak_live_bytes: self.peak_live_bytes.load(Ordering::Relaxed),
            frames_at_peak: self.frames_at_peak.load(Ordering::Relaxed),
            nr_lost,
            failure: self.failure.get().copied(),
        }
    }
}

/// Stops the replay if somebody typed Ctrl-C.
pub(crate) fn watch(stage: &Stage<'_>) {
    if input::is_cancelled() {
        stage.fail(Failure::Stopped);
    }
}

/// Plays the stream of `player` to its end, with objects from `O`; the same for all players of a replay.
pub(crate) fn play<O: Objects>(stage: &Stage<'_>, player: usize, watcher: &mut impl Watcher) {
    /// Events between two looks at the clock and the keyboard.
    const STRIDE: usize = 256;
    let stream = stage.score.plan.player(player);
    let mut nr_played = 0;
    for &index in stream {
        if !stage.play::<O>(index, watcher) {
            break;
        }
        nr_played += 1;
        if player == 0 && nr_played % STRIDE == 0 {
            // No more than that: who plays may be timed.
            if input::was_cancelled() {
                stage.fail(Failure::Stopped);
            }
            watcher.look(index);
        }
    }
    stage.nr_events.fetch_add(nr_played as u64, Ordering::Relaxed);
}
