//! A sawtooth: 16 MiB live at each tip, then a random nine tenths freed, eight times, each time with larger objects.
//!
//! What a slab of the last tooth's sizes keeps for one survivor is of no use to the next tooth's.

use workloads::Peer;
use workloads::sizes::Random;

use super::{Live, Looks, Resident};

const NR_TEETH: u32 = 8;
const TIP_BYTES: u64 = 16 << 20;

/// Bytes from `16 << tooth` to four times that, as many between any two powers of two.
fn size(tooth: u32, random: &mut Random) -> usize {
    let base = 16_u64 << tooth << (random.draw() >> 63);
    (base + (((random.draw() >> 32) * base) >> 32)) as usize
}

/// Takes one out at random.
pub(super) fn take_any(live: &mut Vec<Live>, random: &mut Random) -> Option<Live> {
    if live.is_empty() {
        return None;
    }
    let place = ((random.draw() >> 32) * live.len() as u64) >> 32;
    Some(live.swap_remove(place as usize))
}

/// What is held over what is live: at the first tip (metadata and rounding); the most that is ever held over what is live
/// at a tip; at the end over what is left; the same after the allocator gave back what it could.
pub(super) fn run<P: Peer>(looks: &mut Looks) -> Result<[f64; 4], String> {
    let mut random = Random::new(0, 0);
    // Room for all there can be, resident before the start.
    let mut live = vec![Live { object: std::ptr::null_mut(), size: 1, align: 1 }; (TIP_BYTES / 16) as usize];
    live.clear();
    let resident = Resident::<P>::new()?;
    let mut nr_live_bytes = 0;
    let mut first = None;
    let mut peak = 0;
    for tooth in 0..NR_TEETH {
        while nr_live_bytes < TIP_BYTES {
            live.push(Live::alloc::<P>(size(tooth, &mut random), 8)?);
            nr_live_bytes += u64::from(live[live.len() - 1].size);
        }
        let held = looks.note(nr_live_bytes, &resident)?;
        first.get_or_insert(held);
        peak = peak.max(held);
        for _ in 0..live.len() * 9 / 10 {
            let one = take_any(&mut live, &mut random).ok_or("nothing is live")?;
            nr_live_bytes -= u64::from(one.size);
            one.free::<P>();
        }
        peak = peak.max(looks.note(nr_live_bytes, &resident)?);
    }
    let over = |held: u64, live: u64| held as f64 / live as f64;
    let end = over(looks.note(nr_live_bytes, &resident)?, nr_live_bytes);
    P::trim();
    let reaped = over(looks.note(nr_live_bytes, &resident)?, nr_live_bytes);
    live.into_iter().for_each(Live::free::<P>);
    P::trim();
    let (first, peak) = (over(first.unwrap_or(0), TIP_BYTES), over(peak, TIP_BYTES));
    Ok([first, peak, end, reaped])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_tooth_lie_in_its_range_and_reach_both_halves() {
        let mut random = Random::new(0, 7);
        for tooth in 0..NR_TEETH {
            let base = 16_usize << tooth;
            let sizes: Vec<_> = (0..1000).map(|_| size(tooth, &mut random)).collect();
            assert!(sizes.iter().all(|size| (base..4 * base).contains(size)));
            let nr_small = sizes.iter().filter(|&&size| size < 2 * base).count();
            assert!((400..600).contains(&nr_small), "{nr_small}");
        }
    }
}
