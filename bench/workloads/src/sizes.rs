//! What the workloads ask for, and numbers without a pattern.

use core::alloc::Layout;

/// Bytes from 16 to 1024, as many between any two powers of two: what `pairmix`, `mstress` and `larson` ask for.
pub static MIX: [Layout; 1024] = mix();

/// The alignment of all of them.
pub const MIX_ALIGN: usize = 8;

const fn mix() -> [Layout; 1024] {
    let mut layouts = [layout(16, MIX_ALIGN); 1024];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut i = 0;
    while i < layouts.len() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let base = 16_usize << ((state >> 60) % 6);
        let size = base + 1 + (state >> 20) as usize % base;
        layouts[i] = layout(size, MIX_ALIGN);
        i += 1;
    }
    layouts
}

/// A layout; one that cannot be does not compile, or panics.
pub const fn layout(size: usize, align: usize) -> Layout {
    match Layout::from_size_align(size, align) {
        Ok(layout) => layout,
        Err(_) => panic!("no such layout"),
    }
}

/// 64 bytes.
pub const SMALL: Layout = layout(64, 8);
/// A page.
pub const PAGE: Layout = layout(4096, 4096);
/// Bytes from 17 to 8192, as many between any two powers of two, by the upper half of `number`: what `rptest` asks for.
#[inline(always)]
pub const fn log_size(number: u64) -> usize {
    const NR_DOUBLINGS: u64 = 9;
    let base = 16_usize << (((number >> 48) * NR_DOUBLINGS) >> 16);
    base + 1 + (number >> 32) as usize % base
}

/// What `cache-thrash` and `cache-scratch` ask for: less than a cache line.
pub const TINY: Layout = layout(8, 8);

/// Numbers without a pattern, the same on every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of thread or CPU number `number` in a run of `seed`.
    pub fn new(seed: u64, number: usize) -> Self {
        Self(0x2545_f491_4f6c_dd1d ^ seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The upper half is good; two instructions with constants that fit into them, as the harness counts in the result.
    #[inline(always)]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d).wrapping_add(0x1405_7b7f);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_spread_over_its_powers_of_two() {
        for base in (4..10).map(|shift| 1 << shift) {
            let nr_in_range = MIX.iter().filter(|layout| (base + 1..=2 * base).contains(&layout.size())).count();
            assert!((100..250).contains(&nr_in_range), "{nr_in_range} sizes above {base}");
        }
    }

    #[test]
    fn sizes_of_rptest_are_spread_over_nine_doublings() {
        let mut random = Random::new(1, 0);
        let sizes = [(); 9000].map(|()| log_size(random.draw()));
        assert!(sizes.iter().all(|size| (17..=8192).contains(size)));
        for base in (4..13).map(|shift| 1 << shift) {
            let nr_in_range = sizes.iter().filter(|size| (base + 1..=2 * base).contains(*size)).count();
            assert!((800..1200).contains(&nr_in_range), "{nr_in_range} sizes above {base}");
        }
        assert_eq!((log_size(0), log_size(u64::MAX)), (17, 4096 + 1 + 4095));
    }

    #[test]
    fn numbers_repeat_with_their_seed_and_differ_between_cpus() {
        let draw = |seed, number| {
            let mut random = Random::new(seed, number);
            [(); 4].map(|()| random.draw())
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        assert_ne!(draw(7, 0), draw(8, 0));
    }
}
