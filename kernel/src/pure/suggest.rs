//! "Did you mean": the known name that is nearest to a mistyped one.
//!
//! Near means few insertions, deletions, replacements and swaps of neighbours (the optimal string alignment distance).
//! Called by: the shell for unknown commands, `args` for unknown keys.

/// Longer words are not compared; no name is as long.
const LONGEST: usize = 32;

/// The name in `names` that is most like `word`: the only one that `word` is the beginning of, or the first with the
/// smallest distance, if that is at most a third of the word (one letter for short words).
pub fn closest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let allowed = (word.len() / 3).max(1);
    let mut nearest: Option<(usize, &str)> = None;
    let mut begun: Option<&str> = None;
    let mut nr_begun = 0;
    for name in names {
        if !word.is_empty() && name.starts_with(word) {
            begun = Some(name);
            nr_begun += 1;
        }
        if let Some(distance) = distance(word, name)
            && distance <= allowed
            // All letters replaced is not a resemblance.
            && distance < word.len().max(name.len())
            && nearest.is_none_or(|(smallest, _)| distance < smallest)
        {
            nearest = Some((distance, name));
        }
    }
    match begun {
        Some(name) if nr_begun == 1 => Some(name),
        _ => nearest.map(|(_, name)| name),
    }
}

/// The number of edits between two words; nothing if one is too long to compare.
fn distance(a: &str, b: &str) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > LONGEST || b.len() > LONGEST {
        return None;
    }
    // rows[0] is the row of the table being filled, rows[1] and rows[2] the two above it.
    let mut rows = [[0usize; LONGEST + 1]; 3];
    rows[0] = core::array::from_fn(|j| j);
    for i in 1..=a.len() {
        rows.rotate_right(1);
        rows[0][0] = i;
        for j in 1..=b.len() {
            let replaced = rows[1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[1][j] + 1).min(rows[0][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[2][j - 2] + 1);
            }
            rows[0][j] = least;
        }
    }
    Some(rows[0][b.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 8] = ["help", "cpus", "mem", "slabs", "replay", "stress", "quit", "reboot"];

    #[test]
    fn typing_errors_find_their_command() {
        for (word, name) in [
            ("strss", "stress"),
            ("sterss", "stress"),
            ("mme", "mem"),
            ("men", "mem"),
            ("slab", "slabs"),
            ("rep", "replay"),
            ("qiut", "quit"),
            ("replya", "replay"),
        ] {
            assert_eq!(closest(word, NAMES), Some(name), "{word}");
        }
    }

    #[test]
    fn what_resembles_nothing_gets_no_suggestion() {
        for word in ["", "x", "re", "frobnicate", "ls", &"s".repeat(500)] {
            assert_eq!(closest(word, NAMES), None, "{word}");
        }
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(a in "[a-c]{0,8}", b in "[a-c]{0,8}") {
            let found = distance(&a, &b).expect("short words");
            prop_assert_eq!(Some(found), distance(&b, &a));
            prop_assert_eq!(found == 0, a == b);
            prop_assert!(found <= a.len().max(b.len()) && found >= a.len().abs_diff(b.len()));
        }

        #[test]
        fn one_edit_is_distance_one(word in "[a-z]{2,12}", at in any::<prop::sample::Index>()) {
            let at = at.index(word.len() - 1);
            let mut removed = word.clone();
            removed.remove(at);
            prop_assert_eq!(distance(&word, &removed), Some(1));
            let mut bytes = word.clone().into_bytes();
            bytes.swap(at, at + 1);
            let swapped = String::from_utf8(bytes).expect("letters");
            prop_assert!(distance(&word, &swapped) <= Some(1));
        }
    }
}
