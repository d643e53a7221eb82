//! Numbers of parts as one types them: `3`, `2,5`, `4-7,9`.
//!
//! Called by: the kernel's `qr --parts`.

use core::ops::RangeInclusive;

/// The numbers in `list` as ranges, in their order; a word that is none, or none of `nr_parts`, is an error.
pub fn ranges(list: &str, nr_parts: u16) -> impl Iterator<Item = Result<RangeInclusive<u16>, &str>> {
    list.split(',').map(move |word| {
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|number| is_plain && (1..=nr_parts).contains(number))
        };
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(first..=last),
            _ => Err(word),
        }
    })
}

/// Whether `list`, in which nothing is wrong, has the number.
pub fn has(list: &str, number: u16, nr_parts: u16) -> bool {
    ranges(list, nr_parts).flatten().any(|range| range.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn numbers_and_ranges_are_read() {
        let chosen = |list| (1..=12).filter(|number| has(list, *number, 12)).collect::<Vec<u16>>();
        assert_eq!(chosen("3"), [3]);
        assert_eq!(chosen("4-6,1,12-12"), [1, 4, 5, 6, 12]);
        for (list, wrong) in
            [("0", "0"), ("13", "13"), ("1,x", "x"), ("3-2", "3-2"), ("1-", "1-"), ("+1", "+1"), ("", "")]
        {
            assert_eq!(ranges(list, 12).find_map(Result::err), Some(wrong), "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn no_list_is_fatal(list in "[0-9,-]{0,12}", number in any::<u16>(), nr_parts in any::<u16>()) {
            let _ = has(&list, number, nr_parts);
        }
    }
}
