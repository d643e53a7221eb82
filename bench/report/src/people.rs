//! Contenders: whose they are, which of them the others are held against, and the colour that each keeps on a page.

use std::collections::HashMap;

/// What the others are held against, in this order: ours in the kernel, ours on a host.
const OURS: &[&str] = &["heap", "mm"];

/// Where nobody competes: the case in which nothing disturbs.
const QUIET: &[&str] = &["halted"];

/// Ours in part, or no allocator at all: nobody that ours competes with.
const OWN: &[&str] = &["heap", "mm", "mm-result", "slabs", "slabs-locked", "frames", "null", "heap-result"];

/// The bare harness: it has a line, and wins and loses nothing.
pub const HARNESS: &str = "null";

/// Known names, so that each has the same colour and mark on every page. Numbers that are eight apart have a colour in
/// common and differ in their mark. Others get what is left.
const COLOURS: [&[&str]; 16] = [
    &["heap", "mm", "halted"],
    &["talc", "busy"],
    &["slabs", "woken"],
    &["rlsf"],
    &["buddy"],
    &["slabs-locked", "mm-result"],
    &["linked_list"],
    &["null"],
    &[],
    &["jemalloc"],
    &["snmalloc"],
    &["mimalloc"],
    &["rpmalloc"],
    &[],
    &["glibc"],
    &["mimalloc-c"],
];

/// Whether a contender is a peer, by its name.
pub fn is_peer(name: &str) -> bool {
    !OWN.contains(&name)
}

/// Whether a contender is ours, by its name.
pub fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

/// Whom the others are held against: ours if it is there, else the quiet case, else the first.
pub fn reference<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Option<&'n str> {
    OURS.iter()
        .chain(QUIET)
        .find_map(|&wanted| names.clone().find(|&name| name == wanted))
        .or_else(|| names.clone().next())
}

/// The colours of a page.
#[derive(Debug, Default)]
pub struct Colours {
    numbers: HashMap<String, usize>,
    nr_others: usize,
}

impl Colours {
    /// The number of a contender's colour and mark, the same for the same name.
    pub fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let known = COLOURS.iter().position(|names| names.contains(&name));
        let number = known.unwrap_or_else(|| {
            self.nr_others += 1;
            // From the second on, as the first is ours.
            1 + (self.nr_others - 1) % (COLOURS.len() - 1)
        });
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_the_reference_wherever_it_stands() {
        assert_eq!(reference(["talc", "heap"].into_iter()), Some("heap"));
        assert_eq!(reference(["busy", "halted"].into_iter()), Some("halted"));
        assert_eq!(reference(["one", "other"].into_iter()), Some("one"));
        assert_eq!(reference([].into_iter()), None);
        assert!(is_peer("talc") && is_peer("what nobody knows") && !is_peer("slabs"));
    }

    #[test]
    fn a_name_keeps_its_colour_and_no_stranger_has_ours() {
        let mut colours = Colours::default();
        assert_eq!(colours.number("heap"), 0);
        let strangers: Vec<usize> = (0..20).map(|i| colours.number(&format!("stranger {i}"))).collect();
        assert!(strangers.iter().all(|&number| number != 0 && number < COLOURS.len()));
        assert_eq!(colours.number("stranger 3"), strangers[3]);
    }
}
