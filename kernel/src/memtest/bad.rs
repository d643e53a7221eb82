//! What a test of memory found: words shown as they are found, and the frames they lie in.

use core::sync::atomic::{AtomicU64, Ordering};

use kernel::memtest::Fault;
use kernel::report::Format;
use mm::frame::Frame;
use mm::lock::Lock;

use super::holdings::Chunk;
use crate::console::println;
use crate::machine::Cpu;

/// Words that are shown; one bad chip makes millions.
const MAX_SHOWN: u64 = 32;
/// Frames that are remembered one by one. Of a chunk with more than find room here all frames count as bad.
const MAX_FRAMES: usize = 1024;

/// See the module.
pub(super) struct BadFrames {
    format: Format,
    nr_words: AtomicU64,
    frames: Lock<Frames, Cpu>,
}

struct Frames {
    numbers: [u32; MAX_FRAMES],
    len: usize,
}

impl BadFrames {
    pub(super) fn new(format: Format) -> Self {
        Self { format, nr_words: AtomicU64::new(0), frames: Lock::new(Frames { numbers: [0; MAX_FRAMES], len: 0 }) }
    }

    /// Takes note of a word, and shows it while they are few.
    pub(super) fn add(&self, chunk: &Chunk, frame: Frame, fault: Fault) {
        let nr_before = self.nr_words.fetch_add(1, Ordering::Relaxed);
        if nr_before < MAX_SHOWN {
            self.show(&fault);
        } else if nr_before == MAX_SHOWN && self.format == Format::Text {
            println!("memtest: bad: more of them, which are counted and not shown");
        }
        let mut frames = self.frames.lock();
        let len = frames.len;
        if frames.numbers[..len].contains(&frame.number()) {
            chunk.note_bad(false);
        } else if let Some(place) = frames.numbers.get_mut(len) {
            *place = frame.number();
            frames.len += 1;
            chunk.note_bad(false);
        } else {
            chunk.note_bad(true);
        }
    }

    fn show(&self, fault: &Fault) {
        if self.format == Format::Text {
            return println!("memtest: bad: {fault}");
        }
        // A whole line at once: another CPU may have found something, too.
        println!(
            "{{\"kind\":\"memtest_bad\",\"phys\":{},\"expected\":{},\"found\":{},\"xor\":{}}}",
            fault.addr,
            fault.expected,
            fault.found,
            fault.expected ^ fault.found
        );
    }

    /// Words found so far.
    pub(super) fn nr_words(&self) -> u64 {
        self.nr_words.load(Ordering::Relaxed)
    }

    /// Whether `frame` is remembered.
    pub(super) fn contains(&self, frame: Frame) -> bool {
        let frames = self.frames.lock();
        frames.numbers[..frames.len].contains(&frame.number())
    }
}
