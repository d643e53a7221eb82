//! A spike and its drop, after Bonwick 1994: processes come in a burst and go again, while those of before go on living.
//!
//! Only memory that was asked for a process is given back with it; those that stay replace some of what they have at the
//! height of the spike, so long-lived objects come to lie between short-lived ones.

use workloads::Peer;
use workloads::sizes::Random;

use super::sawtooth::take_any;
use super::{Live, Looks, Resident, waste};

/// What a process of a kernel takes: bytes and how many. The sizes are of the order of those in a Linux `/proc/slabinfo`.
const PROCESS: &[(usize, usize)] = &[
    (16_384, 1), // stack
    (9_600, 1),  // task
    (4_096, 6),  // page tables
    (2_112, 1),  // signal handlers
    (1_152, 1),  // signals
    (1_088, 1),  // address space
    (704, 1),    // open files
    (648, 4),    // inodes
    (512, 2),
    (256, 12), // files, nodes of trees
    (200, 24), // ranges of the address space
    (192, 8),  // names
    (128, 8),
    (96, 12),
    (64, 40),
    (32, 40),
    (24, 8),
];

const NR_BEFORE: usize = 100;
const NR_IN_SPIKE: usize = 400;

fn start<P: Peer>() -> Result<Vec<Live>, String> {
    let sizes = PROCESS.iter().flat_map(|&(size, n)| std::iter::repeat_n(size, n));
    sizes.map(|size| Live::alloc::<P>(size, if size.is_multiple_of(4096) { 4096 } else { 8 })).collect()
}

fn bytes(processes: &[Vec<Live>]) -> u64 {
    processes.iter().flatten().map(|live| u64::from(live.size)).sum()
}

/// The part of what is held that nobody asked for: at the peak, and back at the level of before, after the allocator gave
/// back what it could.
pub(super) fn run<P: Peer>(looks: &mut Looks) -> Result<[f64; 2], String> {
    let mut random = Random::new(0, 1);
    let resident = Resident::<P>::new()?;
    let mut before = (0..NR_BEFORE).map(|_| start::<P>()).collect::<Result<Vec<_>, _>>()?;
    let mut spike = Vec::new();
    for i in 0..NR_IN_SPIKE {
        spike.push(start::<P>()?);
        // One of those that stay replaces a tenth of what it has.
        let one = &mut before[i % NR_BEFORE];
        for _ in 0..one.len() / 10 {
            let old = take_any(one, &mut random).ok_or("a process has nothing")?;
            let (size, align) = (old.size as usize, old.align as usize);
            old.free::<P>();
            one.push(Live::alloc::<P>(size, align)?);
        }
    }
    let live = bytes(&before) + bytes(&spike);
    let at_peak = waste(live, looks.note(live, &resident)?);
    while !spike.is_empty() {
        let place = ((random.draw() >> 32) * spike.len() as u64) >> 32;
        spike.swap_remove(place as usize).into_iter().for_each(Live::free::<P>);
    }
    P::trim();
    let dropped = waste(bytes(&before), looks.note(bytes(&before), &resident)?);
    before.into_iter().flatten().for_each(Live::free::<P>);
    P::trim();
    Ok([at_peak, dropped])
}
