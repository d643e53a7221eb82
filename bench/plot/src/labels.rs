//! Labels moved apart along a line, each as near as may be to where it wants to be.
//!
//! Labels that would overlap form a block that stands where its members are moved least in the sum of squares; a block
//! that meets another joins it (pool adjacent violators, the algorithm of isotonic regression).

struct Block {
    first: usize,
    nr: usize,
    /// Sum over the members of: wanted place less the member's offset within the block.
    sum: f64,
}

/// Places for labels that want to be at `wanted`, at least `distance` from one another and within `from..=to`, in the
/// order of the input. Where there is not room for all, they stand closer together.
pub fn spread(wanted: &[f64], distance: f64, from: f64, to: f64) -> Vec<f64> {
    let nr = wanted.len();
    let room = (to - from).max(0.0);
    let distance = if nr > 1 { distance.min(room / (nr - 1) as f64) } else { distance };
    let mut order: Vec<usize> = (0..nr).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let top = |block: &Block| {
        let length = (block.nr - 1) as f64 * distance;
        (block.sum / block.nr as f64).clamp(from, (to - length).max(from))
    };
    let mut blocks: Vec<Block> = Vec::new();
    for (rank, &index) in order.iter().enumerate() {
        let wish = if wanted[index].is_finite() { wanted[index] } else { to };
        blocks.push(Block { first: rank, nr: 1, sum: wish });
        while let [.., above, below] = blocks.as_slice() {
            if top(above) + above.nr as f64 * distance <= top(below) {
                break;
            }
            let (nr, sum) = (below.nr, below.sum - below.nr as f64 * above.nr as f64 * distance);
            blocks.pop();
            if let Some(above) = blocks.last_mut() {
                above.nr += nr;
                above.sum += sum;
            }
        }
    }
    let mut places = vec![0.0; nr];
    for block in &blocks {
        for member in 0..block.nr {
            places[order[block.first + member]] = top(block) + member as f64 * distance;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_with_room_stay_where_they_are() {
        assert_eq!(spread(&[50.0, 10.0, 30.0], 10.0, 0.0, 100.0), [50.0, 10.0, 30.0]);
        assert!(spread(&[], 10.0, 0.0, 100.0).is_empty());
    }

    #[test]
    fn labels_that_want_one_place_stand_about_it() {
        assert_eq!(spread(&[50.0, 50.0, 50.0], 10.0, 0.0, 100.0), [40.0, 50.0, 60.0]);
        assert_eq!(spread(&[0.0, 0.0], 10.0, 0.0, 100.0), [0.0, 10.0], "and within the bounds");
        assert_eq!(spread(&[100.0, 100.0], 10.0, 0.0, 100.0), [90.0, 100.0]);
    }

    proptest! {
        #[test]
        fn no_two_overlap_and_all_are_inside(wanted in proptest::collection::vec(-50.0..150.0_f64, 0..20)) {
            let places = spread(&wanted, 5.0, 0.0, 100.0);
            let mut sorted = places.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 5.0 - 1e-6), "{sorted:?}");
            prop_assert!(sorted.iter().all(|&place| (-1e-6..=100.0 + 1e-6).contains(&place)), "{sorted:?}");
            // Nobody passes another.
            for (i, a) in wanted.iter().enumerate() {
                for (j, b) in wanted.iter().enumerate() {
                    prop_assert!(a >= b || places[i] <= places[j]);
                }
            }
        }
    }
}
