//! loom models of the shipped lock and depot: every interleaving, every value that the memory model allows to be read.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p mm --release --lib models`. Interrupts are not part of these: a lock is held
//! with interrupts off, so on one CPU nothing comes between.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use std::alloc::{Layout, alloc, dealloc};
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use loom::sync::Arc;
use loom::thread;

use crate::bank::Bank;
use crate::depot::{Depot, Trade};
use crate::error::{Error, Metadata, Result};
use crate::lock::Lock;
use crate::machine::Machine;
use crate::magazine::{Magazine, Notes};
use crate::sync::mutant;

/// The mutant switch is one static: models run one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Model;

/// Nothing is overwritten in the models.
struct Trusting;

impl Notes for Trusting {
    fn note(&self, what: Metadata, addr: usize) {
        panic!("{what} at {addr:#x}");
    }
}

// SAFETY: no bank is ever asked for.
unsafe impl Machine for Model {
    fn bank() -> &'static Bank {
        unreachable!("the models have no magazines of CPUs")
    }
    fn irq_save() -> usize {
        0
    }
    unsafe fn irq_restore(_saved: usize) {}
    fn relax(_nr_turns: u32) {
        thread::yield_now();
    }
    fn drain_other_cpus() {}
    fn report(error: Error) {
        panic!("{error}");
    }
}

/// All schedules with up to two preemptions. A waiter's stale looks at a lock are many, hence the branches.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 100_000;
    builder.check(body);
}

fn count_from_two_cpus() {
    model(|| {
        let lock = Arc::new(Lock::<u32, Model>::new(0));
        let theirs = Arc::clone(&lock);
        let other = thread::spawn(move || {
            *theirs.lock() += 1;
            *theirs.lock() += 1;
        });
        *lock.lock() += 1;
        other.join().unwrap();
        assert_eq!(*lock.lock(), 3);
    });
}

#[test]
fn a_lock_lets_one_in_and_shows_it_what_the_last_one_did() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    count_from_two_cpus();
}

#[test]
fn a_lock_that_is_opened_without_release_is_caught() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    mutant::OPEN_RELAXED.store(true, Ordering::Relaxed);
    let caught = catch_unwind(AssertUnwindSafe(count_from_two_cpus));
    mutant::OPEN_RELAXED.store(false, Ordering::Relaxed);
    let panic = caught.expect_err("the model does not notice a lock without release");
    let text = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(text.contains("Causality violation"), "the model fails for another reason: {text}");
}

/// A full magazine of two rounds, both the same.
fn new_magazine(round: usize) -> NonNull<Magazine> {
    // SAFETY: the layout has a size; the magazine is made in memory of its own size.
    unsafe {
        let mut magazine = Magazine::create(NonNull::new(alloc(layout())).expect("the host has memory"), 2);
        magazine.as_mut().nr_rounds = 2;
        let round = NonNull::<u8>::new(core::ptr::without_provenance_mut(round)).expect("not null");
        Magazine::rounds(magazine).cast().write([round; 2]);
        magazine
    }
}

fn layout() -> Layout {
    Layout::from_size_align(Magazine::bytes(2), 16).expect("a valid layout")
}

/// Takes the rounds out, and gives the memory back.
fn consume(magazine: NonNull<Magazine>) -> usize {
    // SAFETY: the caller owns the magazine, made by `new_magazine`.
    unsafe {
        let round = if magazine.as_ref().nr_rounds > 0 { Magazine::rounds(magazine).read().addr().get() } else { 0 };
        dealloc(magazine.cast().as_ptr(), layout());
        round
    }
}

#[test]
fn a_depot_hands_each_magazine_to_one_cpu() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    model(|| {
        let depot: &'static Depot<Model> = Box::leak(Box::new(Depot::new()));
        let give = move |round: usize| {
            move || match depot.trade_full(new_magazine(round), 2, 8, &Trusting) {
                Trade::Stored => 0,
                Trade::Empty(other) => panic!("an empty magazine {other:p} from nowhere"),
                Trade::Refused(other) => consume(other),
            }
        };
        let take = move || depot.trade_empty(None, &Trusting).map_or(0, consume);
        let other = thread::spawn(move || give(16)() + take());
        let mine = give(32)() + take();
        let theirs = other.join().unwrap();
        let left = core::iter::from_fn(|| depot.take_any(&Trusting)).map(consume).sum::<usize>();
        assert_eq!(mine + theirs + left, 16 + 32, "{mine} and {theirs}, {left} left");
        // SAFETY: leaked above, and the other thread has ended.
        drop(unsafe { Box::from_raw(core::ptr::from_ref(depot).cast_mut()) });
    });
}
