//! Is slab colouring worth it? Conflict misses of a modelled first-level cache, with and without, for every size class.
//!
//! The cache is the usual one: 64 sets of 8 lines of 64 bytes, so a page covers every set once, and where an object lies
//! in its page decides. `cargo run -p mm --release --example colouring`; exact, the same on every machine.

use mm::frame::PAGE_SIZE;
use mm::geometry::Geometry;
use mm::size_class;

const LINE: usize = 64;
const NR_SETS: usize = 64;
const NR_WAYS: usize = 8;

/// Misses of the third round over the addresses, each set replacing its least recently used line.
fn misses(lines: &[usize]) -> usize {
    let mut sets = vec![Vec::new(); NR_SETS];
    let mut nr_misses = 0;
    for round in 0..3 {
        for line in lines {
            let set: &mut Vec<usize> = &mut sets[line % NR_SETS];
            match set.iter().position(|held| held == line) {
                Some(place) => drop(set.remove(place)),
                None => nr_misses += usize::from(round == 2),
            }
            set.push(*line);
            if set.len() > NR_WAYS {
                set.remove(0);
            }
        }
    }
    nr_misses
}

/// The lines of `nr_objects` objects in slabs one behind the other: the first line of each, or all.
fn lines(geometry: Geometry, nr_objects: usize, nr_colours: usize, step: usize, is_whole: bool) -> Vec<usize> {
    let slab_bytes = geometry.nr_pages * PAGE_SIZE;
    let object = |i: usize| {
        let slab = i / geometry.nr_objects;
        let start = slab * slab_bytes + slab % nr_colours * step + i % geometry.nr_objects * geometry.object_size;
        let end = if is_whole { start + geometry.object_size } else { start + 1 };
        start / LINE..end.div_ceil(LINE)
    };
    (0..nr_objects).flat_map(object).collect()
}

fn main() {
    let geometries: Vec<_> = (0..size_class::NR_CLASSES)
        .map(|class| {
            let size = size_class::size(class);
            let smallest = if size <= 128 { size } else { size_class::size(class - 1) + 1 };
            let geometry = Geometry::new(size, smallest);
            // A step keeps the alignment that a multiple of its power of two promises.
            let step = LINE.max(1 << size.trailing_zeros());
            let unused = geometry.nr_pages * PAGE_SIZE - geometry.nr_objects * size;
            (geometry, step, unused / step + 1)
        })
        .collect();
    let nr_plain = geometries.iter().filter(|(_, _, nr_colours)| *nr_colours == 1).count();
    println!("{nr_plain} of {} classes have no room for a second colour", geometries.len());
    for is_whole in [false, true] {
        for nr_lines in [64, 128, 256] {
            let (mut plain, mut coloured, mut nr_touched) = (0, 0, 0);
            for &(geometry, step, nr_colours) in &geometries {
                let nr_objects = if is_whole { (nr_lines * LINE / geometry.object_size).max(1) } else { nr_lines };
                let touched = lines(geometry, nr_objects, 1, step, is_whole);
                nr_touched += touched.len();
                plain += misses(&touched);
                coloured += misses(&lines(geometry, nr_objects, nr_colours, step, is_whole));
            }
            let what = if is_whole { "whole objects" } else { "first lines" };
            println!("{what}, {nr_lines} lines: {plain} misses of {nr_touched}, {coloured} with colours");
        }
    }
}
