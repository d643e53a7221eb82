//! What each test of memory promises, on memory with the fault built in; and that good memory passes.

use super::*;
use proptest::prelude::*;

/// A way in which memory is broken. Words are numbered within the memory, bits within a word.
#[derive(Clone, Copy, Debug)]
enum Defect {
    None,
    /// The bit always reads so.
    Stuck {
        word: usize,
        bit: u32,
        at: bool,
    },
    /// The bit never changes to this value once it has the other.
    NoTransition {
        word: usize,
        bit: u32,
        to: bool,
    },
    /// The address line makes no difference.
    DeadLine {
        line: u32,
    },
    /// The words of both numbers are one cell.
    OneCell {
        word: usize,
        other: usize,
    },
    /// When `cause` changes to `on`, `effect` becomes `to`; it is a bit of another word.
    Idempotent {
        cause: (usize, u32),
        on: bool,
        effect: (usize, u32),
        to: bool,
    },
    /// When `cause` changes to `on`, `effect` flips.
    Inversion {
        cause: (usize, u32),
        on: bool,
        effect: (usize, u32),
    },
    /// A bit and its upper neighbour are shorted: both read as their logical and (or their or).
    Bridge {
        word: usize,
        bit: u32,
        is_and: bool,
    },
}

struct Broken {
    cells: Vec<u64>,
    defect: Defect,
}

impl Broken {
    fn new(nr_words: usize, defect: Defect) -> Self {
        // What memory holds at first is anybody's guess.
        Self { cells: (0..nr_words as u64).map(mixed).collect(), defect }
    }

    fn cell(&self, index: usize) -> usize {
        match self.defect {
            Defect::DeadLine { line } => index & !(1 << line),
            Defect::OneCell { word, other } if index == other => word,
            _ => index,
        }
    }
}

fn with_bit(value: u64, bit: u32, is_set: bool) -> u64 {
    value & !(1 << bit) | u64::from(is_set) << bit
}

fn bit(value: u64, bit: u32) -> bool {
    value >> bit & 1 != 0
}

impl Words for Broken {
    fn len(&self) -> usize {
        self.cells.len()
    }

    fn read(&self, index: usize) -> u64 {
        let value = self.cells[self.cell(index)];
        match self.defect {
            Defect::Stuck { word, bit, at } if word == index => with_bit(value, bit, at),
            Defect::Bridge { word, bit: low, is_and } if word == index => {
                let (one, other) = (bit(value, low), bit(value, low + 1));
                let both = if is_and { one && other } else { one || other };
                with_bit(with_bit(value, low, both), low + 1, both)
            }
            _ => value,
        }
    }

    fn write(&mut self, index: usize, value: u64) {
        let cell = self.cell(index);
        let before = self.cells[cell];
        self.cells[cell] = match self.defect {
            Defect::NoTransition { word, bit: b, to } if word == index && bit(before, b) != to => {
                with_bit(value, b, !to)
            }
            _ => value,
        };
        let changes = |(word, b): (usize, u32), on: bool| word == index && bit(before, b) != on && bit(value, b) == on;
        match self.defect {
            Defect::Idempotent { cause, on, effect: (word, b), to } if changes(cause, on) => {
                self.cells[word] = with_bit(self.cells[word], b, to);
            }
            Defect::Inversion { cause, on, effect: (word, b) } if changes(cause, on) => self.cells[word] ^= 1 << b,
            _ => {}
        }
    }
}

/// Physical address of the memory: its low bits are as good as any.
const START: u64 = 0x1_2340_0000;

fn faults(test: Test, nr_words: usize, defect: Defect) -> Vec<Fault> {
    let mut memory = Broken::new(nr_words, defect);
    let mut found = Vec::new();
    for step in test.steps(7) {
        step.sweep(&mut memory, START, |fault| found.push(fault));
    }
    found
}

fn finds(test: Test, nr_words: usize, defect: Defect) -> bool {
    !faults(test, nr_words, defect).is_empty()
}

#[test]
fn good_memory_passes_every_test() {
    for test in Test::ALL {
        assert_eq!(faults(test, 1000, Defect::None), [], "{}", test.name());
    }
}

#[test]
fn every_test_finds_every_stuck_bit_where_it_is() {
    for test in Test::ALL {
        for bit in 0..64 {
            for at in [false, true] {
                let found = faults(test, 8, Defect::Stuck { word: 5, bit, at });
                let is_it = |fault: &Fault| fault.addr == START + 40 && fault.expected ^ fault.found == 1 << bit;
                assert!(!found.is_empty() && found.iter().all(is_it), "{} bit {bit} at {at}", test.name());
            }
        }
    }
}

#[test]
fn walking_finds_every_bit_that_does_not_change_back() {
    for bit in 0..64 {
        for to in [false, true] {
            assert!(finds(Test::Walking, 4, Defect::NoTransition { word: 2, bit, to }), "bit {bit} to {to}");
        }
    }
}

#[test]
fn every_dead_address_line_is_found() {
    for test in Test::ALL {
        for line in 0..10 {
            assert!(finds(test, 1024, Defect::DeadLine { line }), "{} line {line}", test.name());
        }
    }
}

/// So that it means something if one of them finds a fault: none of them finds all.
#[test]
fn no_test_but_walking_finds_all_couplings() {
    let couplings = |test| {
        let pairs = (0..4).flat_map(|cause| (0..4).map(move |effect| (cause, effect))).filter(|(one, two)| one != two);
        let defects = pairs.flat_map(|(cause, effect)| {
            [(false, false), (false, true), (true, false), (true, true)].map(|(on, to)| Defect::Idempotent {
                cause: (cause, 3),
                on,
                effect: (effect, 9),
                to,
            })
        });
        defects.filter(|&defect| finds(test, 4, defect)).count()
    };
    let found = Test::ALL.map(couplings);
    assert_eq!(found[1], 48, "all of {found:?}");
    assert!([0, 2, 3].iter().all(|&test| found[test] < 48), "{found:?}");
}

#[test]
fn every_bridge_between_neighbours_is_found() {
    for test in [Test::Checkerboard, Test::Walking] {
        for bit in 0..63 {
            for is_and in [false, true] {
                let defect = Defect::Bridge { word: 3, bit, is_and };
                let across_bytes = bit % 8 == 7;
                assert!(finds(test, 8, defect) || test == Test::Walking && across_bytes, "{} {defect:?}", test.name());
            }
        }
    }
}

#[test]
fn steps_come_in_the_documented_number() {
    assert_eq!(Test::ALL.map(|test| test.steps(0).count()), [3, 48, 3, 4]);
    assert!(Test::ALL.iter().all(|test| test.steps(0).next().is_some_and(|step| step.is_writing())));
}

#[test]
fn a_fault_tells_the_bits_that_differ() {
    let fault = Fault { addr: 0x1234, expected: 0xff, found: 0xf7 };
    assert_eq!(
        fault.to_string(),
        "0x000000001234: 00000000000000ff was written, 00000000000000f7 read, xor 0000000000000008"
    );
}

proptest! {
    /// Whatever the two bits, their order, and the direction of cause and effect.
    #[test]
    fn walking_finds_every_coupling_of_two_words(
        words in (0usize..12, 0usize..12), bits in (0u32..64, 0u32..64), on: bool, to: bool, flips: bool,
    ) {
        prop_assume!(words.0 != words.1);
        let (cause, effect) = ((words.0, bits.0), (words.1, bits.1));
        let idempotent = Defect::Idempotent { cause, on, effect, to };
        let defect = if flips { Defect::Inversion { cause, on, effect } } else { idempotent };
        prop_assert!(finds(Test::Walking, 12, defect), "{defect:?}");
    }

    #[test]
    fn two_addresses_of_one_cell_are_found(words in (0usize..64, 0usize..64)) {
        prop_assume!(words.0 != words.1);
        let defect = Defect::OneCell { word: words.0, other: words.1 };
        prop_assert!(finds(Test::Address, 64, defect) && finds(Test::Walking, 64, defect));
    }

    /// A sweep in pieces is a sweep: the kernel goes page by page.
    #[test]
    fn pieces_make_a_whole(cut in 0usize..=100, seed: u64) {
        for step in Test::ALL.into_iter().flat_map(|test| test.steps(seed)) {
            let mut whole = Broken::new(100, Defect::None);
            let (mut low, mut high) = (Broken::new(cut, Defect::None), Broken::new(100 - cut, Defect::None));
            high.cells.copy_from_slice(&whole.cells[cut..]);
            let (mut one, mut two) = (Vec::new(), Vec::new());
            step.sweep(&mut whole, START, |fault| one.push(fault.addr));
            step.sweep(&mut low, START, |fault| two.push(fault.addr));
            step.sweep(&mut high, START + 8 * cut as u64, |fault| two.push(fault.addr));
            one.sort_unstable();
            two.sort_unstable();
            prop_assert_eq!(one, two);
            prop_assert_eq!(&whole.cells[..], &[low.cells, high.cells].concat()[..]);
        }
    }
}
