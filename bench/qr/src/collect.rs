//! Parts of any runs, in any order, some twice, put together.
//!
//! Invariant: what comes out as whole has the checksum that every one of its parts names, and was unpacked to a text with
//! the checksum that was packed with it. A run that was cut in two ways is collected twice.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::crc32;
use crate::pack::{self, UnpackError};
use crate::part::{Found, PartId};

/// The most runs that are collected at a time.
pub const MAX_RUNS: usize = 64;

/// What was collected so far.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    /// By run and number of parts.
    runs: BTreeMap<(u32, u16), Run>,
    nr_damaged: usize,
    nr_refused: usize,
}

#[derive(Clone, Debug, Default)]
struct Run {
    /// By number.
    parts: BTreeMap<u16, Vec<u8>>,
    /// A part that came in two forms.
    conflict: Option<u16>,
}

/// Why a run cannot be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Parts were not seen: these, in their order.
    Missing(Vec<u16>),
    /// Two different parts claim to be this one.
    Conflict(u16),
    /// All parts are there and do not belong together.
    Mixture {
        /// The checksum of what they make.
        found: u32,
    },
    /// They belong together and are no recording.
    Unpack(UnpackError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(numbers) => {
                f.write_str(if numbers.len() == 1 { "part " } else { "parts " })?;
                ranges(numbers, f)?;
                f.write_str(if numbers.len() == 1 { " is missing" } else { " are missing" })
            }
            Self::Conflict(number) => write!(f, "two different parts claim to be part {number}"),
            Self::Mixture { found } => {
                write!(f, "its parts do not belong together: they make {found:08X}")
            }
            Self::Unpack(error) => write!(f, "it is no recording: {error}"),
        }
    }
}

/// Writes numbers as `1, 3-5, 9`.
fn ranges(numbers: &[u16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = numbers;
    let mut comma = "";
    while let Some(&first) = rest.first() {
        let len = (0_u16..).zip(rest).take_while(|(at, number)| **number - first == *at).count();
        match len {
            1 => write!(f, "{comma}{first}")?,
            _ => write!(f, "{comma}{first}-{}", rest[len - 1])?,
        }
        rest = &rest[len..];
        comma = ", ";
    }
    Ok(())
}

/// A run, as far as it was collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Its name.
    pub run: u32,
    /// How many parts it has.
    pub nr_parts: u16,
    /// How many of them were seen.
    pub nr_seen: usize,
    /// Its text.
    pub text: Result<Vec<u8>, Fault>,
}

impl Collection {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was found; gives back whether it was a part that had not been seen.
    pub fn add(&mut self, found: Found) -> bool {
        let Found::Whole { id: PartId { run, number, nr_parts }, bytes } = found else {
            self.nr_damaged += 1;
            return false;
        };
        if self.runs.len() == MAX_RUNS && !self.runs.contains_key(&(run, nr_parts)) {
            self.nr_refused += 1;
            return false;
        }
        let run = self.runs.entry((run, nr_parts)).or_default();
        match run.parts.get(&number) {
            None => {
                run.parts.insert(number, bytes);
                true
            }
            Some(known) => {
                if *known != bytes {
                    run.conflict = Some(number);
                }
                false
            }
        }
    }

    /// Things that began as a part does and were damaged.
    pub fn nr_damaged(&self) -> usize {
        self.nr_damaged
    }

    /// Parts that were left out because there were more than [`MAX_RUNS`] runs.
    pub fn nr_refused(&self) -> usize {
        self.nr_refused
    }

    /// The runs. A cut that is not whole is left out where another cut of the same run is.
    pub fn finish(self) -> Vec<Collected> {
        let all = self.runs.into_iter().map(|((run, nr_parts), parts)| Collected {
            run,
            nr_parts,
            nr_seen: parts.parts.len(),
            text: parts.join(run, nr_parts),
        });
        let all: Vec<Collected> = all.collect();
        let mut result: Vec<Collected> = Vec::new();
        for collected in &all {
            let other_is_whole = |other: &Collected| {
                other.run == collected.run && other.text.is_ok() && other.nr_parts != collected.nr_parts
            };
            let is_superfluous = match collected.text {
                Ok(_) => result.iter().any(other_is_whole),
                Err(_) => all.iter().any(other_is_whole),
            };
            if !is_superfluous {
                result.push(collected.clone());
            }
        }
        result
    }
}

impl Run {
    fn join(self, run: u32, nr_parts: u16) -> Result<Vec<u8>, Fault> {
        if let Some(number) = self.conflict {
            return Err(Fault::Conflict(number));
        }
        let missing: Vec<u16> = (1..=nr_parts).filter(|number| !self.parts.contains_key(number)).collect();
        if !missing.is_empty() {
            return Err(Fault::Missing(missing));
        }
        let packed: Vec<u8> = self.parts.into_values().flatten().collect();
        let found = crc32::of(&packed);
        if found != run {
            return Err(Fault::Mixture { found });
        }
        pack::unpack(&packed).map_err(Fault::Unpack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::{Cut, Version};
    use crate::part::{self, Part};
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn small() -> Version {
        Version::within_modules(37).expect("version 3")
    }

    fn texts(cut: &Cut<'_>) -> Vec<String> {
        (1..=cut.nr_parts()).map(|number| cut.part(number).expect("a part").to_string()).collect()
    }

    fn collect<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<Collected> {
        let mut collection = Collection::new();
        for text in texts {
            part::find(text.as_bytes()).into_iter().for_each(|found| {
                collection.add(found);
            });
        }
        collection.finish()
    }

    #[test]
    fn what_is_missing_is_told_by_number() {
        let packed = pack::pack(&(0..=255).collect::<Vec<u8>>()).expect("it is short");
        let cut = Cut::new(&packed, small()).expect("it is short");
        let all = texts(&cut);
        assert!(all.len() > 9, "{}", all.len());
        let seen = all.iter().enumerate().filter(|(at, _)| ![0, 2, 3, 4].contains(at)).map(|(_, text)| text);
        let [run] = &collect(seen)[..] else { panic!("one run") };
        assert_eq!(run.text, Err(Fault::Missing([1, 3, 4, 5].into())));
        assert_eq!(run.text.as_ref().map_err(Fault::to_string), Err("parts 1, 3-5 are missing".into()));
        assert_eq!((usize::from(run.nr_parts), run.nr_seen), (all.len(), all.len() - 4));
        assert_eq!(Fault::Missing([7].into()).to_string(), "part 7 is missing");
    }

    #[test]
    fn a_forged_part_is_refused() {
        let packed = pack::pack(b"a recording that is long enough for two parts or more").expect("it is short");
        let cut = Cut::new(&packed, small()).expect("it is short");
        let mut all = texts(&cut);
        let honest = cut.part(1).expect("a part");
        let mut bytes = honest.bytes.to_vec();
        bytes[9] ^= 1;
        let forged = Part { id: honest.id, bytes: &bytes }.to_string();
        all.push(forged.clone());
        assert_eq!(collect(&all)[0].text, Err(Fault::Conflict(1)));
        all.pop();
        all[0] = forged;
        assert!(matches!(collect(&all)[0].text, Err(Fault::Mixture { .. })));
        // Parts of no recording, all of them right.
        let bytes = [1, 2, 3];
        let cut = Cut::new(&bytes, small()).expect("it is short");
        assert_eq!(collect(&texts(&cut))[0].text, Err(Fault::Unpack(UnpackError::Short { nr_bytes: 3 })));
    }

    #[test]
    fn runs_beyond_the_bound_are_counted() {
        let mut collection = Collection::new();
        for run in 0..MAX_RUNS as u32 + 3 {
            collection.add(Found::Whole { id: PartId { run, number: 1, nr_parts: 2 }, bytes: Vec::new() });
        }
        collection.add(Found::Damaged { id: None });
        assert_eq!((collection.nr_refused(), collection.nr_damaged()), (3, 1));
        assert_eq!(collection.finish().len(), MAX_RUNS);
    }

    proptest! {
        #[test]
        fn runs_come_back_from_parts_in_any_order(
            one in proptest::collection::vec(any::<u8>(), 0..400),
            two in proptest::collection::vec(any::<u8>(), 401..600),
            order in any::<prop::sample::Index>(),
            stride in prop::sample::select(&[1_usize, 3, 7, 11, 13][..]),
            repeated in any::<prop::sample::Index>(),
        ) {
            let packed = [&one, &two].map(|text| pack::pack(text).expect("it is short"));
            let cuts = [
                Cut::new(&packed[0], small()).expect("it is short"),
                Cut::new(&packed[1], small()).expect("it is short"),
                // The second one cut in another way as well, and not all of it seen.
                Cut::new(&packed[1], Version::within_modules(53).expect("version 7")).expect("it is short"),
            ];
            let mut all = texts(&cuts[0]);
            all.extend(texts(&cuts[1]));
            all.extend(texts(&cuts[2]).into_iter().skip(1));
            all.push(all[repeated.index(all.len())].clone());
            while stride > 1 && all.len().is_multiple_of(stride) {
                all.push(all[0].clone());
            }
            let start = order.index(all.len());
            let shuffled = (0..all.len()).map(|at| &all[(start + at * stride) % all.len()]);
            let runs = collect(shuffled);
            prop_assert_eq!(runs.len(), 2);
            for (text, cut) in [(&one, &cuts[0]), (&two, &cuts[1])] {
                let run = runs.iter().find(|run| run.run == cut.run()).expect("the run");
                prop_assert_eq!(run.text.as_ref(), Ok(text));
            }
        }
    }
}
