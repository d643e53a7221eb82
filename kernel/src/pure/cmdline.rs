//! The kernel's command line: `key=value` options and flags, then perhaps `run=` with a script.
//!
//! `run=` ends the options: everything behind it is the script, verbatim, blanks and `;` and all. An option given twice
//! counts as it was given last; [`CommandLine::repeated`] tells which are.
//!
//! Invariant: `options` holds no word that begins with `run=`.
//!
//! Called by: boot, with whatever bytes the loader hands over.

use crate::words::{key_value, words};

/// A command line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLine<'a> {
    options: &'a str,
    run: Option<&'a str>,
    cut_at: Option<usize>,
}

impl<'a> CommandLine<'a> {
    /// Takes `text` apart.
    pub fn new(text: &'a str) -> CommandLine<'a> {
        let mut start = 0;
        for word in text.split_inclusive(|c: char| c.is_ascii_whitespace()) {
            if word.starts_with("run=") {
                let (options, run) = text.split_at(start);
                return CommandLine { options, run: run.strip_prefix("run="), cut_at: None };
            }
            start += word.len();
        }
        CommandLine { options: text, run: None, cut_at: None }
    }

    /// Takes a line apart as a loader hands it over. It ends at the first NUL, and before the first byte that is not
    /// text (UTF-8); [`CommandLine::cut_at`] tells of the latter.
    pub fn from_bytes(bytes: &'a [u8]) -> CommandLine<'a> {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        match core::str::from_utf8(&bytes[..end]) {
            Ok(text) => CommandLine::new(text),
            Err(error) => {
                let cut_at = error.valid_up_to();
                let text = core::str::from_utf8(&bytes[..cut_at]).unwrap_or_default();
                CommandLine { cut_at: Some(cut_at), ..CommandLine::new(text) }
            }
        }
    }

    /// Where the line was cut because what follows is not text.
    pub fn cut_at(&self) -> Option<usize> {
        self.cut_at
    }

    /// The script behind `run=`, verbatim.
    pub fn run(&self) -> Option<&'a str> {
        self.run
    }

    /// The last value of `key`.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.options().filter_map(key_value).filter(|(found, _)| *found == key).last().map(|(_, value)| value)
    }

    /// Whether the word `flag` is among the options.
    pub fn has(&self, flag: &str) -> bool {
        self.options().any(|word| word == flag)
    }

    /// The words before `run=`, in order.
    pub fn options(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        words(self.options)
    }

    /// The options that are not `known`: pairs whose key is not in that list, and words that are no pair. A key
    /// without a value means nothing.
    pub fn unknown<'k>(&self, known: &'k [&'k str]) -> impl Iterator<Item = &'a str> + Clone + use<'a, 'k> {
        self.options().filter(move |word| key_value(word).is_none_or(|(key, _)| !known.contains(&key)))
    }

    /// Those of `keys` that are given more than once, each with the value that counts, its last.
    pub fn repeated<'k>(&self, keys: &'k [&'k str]) -> impl Iterator<Item = (&'k str, &'a str)> + use<'a, 'k> {
        let pairs = self.options().filter_map(key_value);
        keys.iter().filter_map(move |&key| {
            let mut values = pairs.clone().filter(move |(found, _)| *found == key).map(|(_, value)| value);
            values.next()?;
            values.last().map(|last| (key, last))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn run_takes_the_rest_verbatim() {
        let line = CommandLine::new("chaos=drop-ipi quiet  run=stress 5s seed=7;  mem ; run=x quiet ");
        assert_eq!(line.run(), Some("stress 5s seed=7;  mem ; run=x quiet "));
        assert_eq!(line.get("chaos"), Some("drop-ipi"));
        assert_eq!(line.get("seed"), None, "that one belongs to the script");
        assert!(line.has("quiet"));
        assert!(!line.has("mem"));
    }

    #[test]
    fn run_must_be_a_word_of_its_own() {
        assert_eq!(CommandLine::new("dryrun=1 x-run=2").run(), None);
        assert_eq!(CommandLine::new("run=").run(), Some(""));
        assert_eq!(CommandLine::new("\trun=mem").run(), Some("mem"));
        assert_eq!(CommandLine::new("run mem").run(), None);
    }

    #[test]
    fn the_last_value_counts() {
        let line = CommandLine::new("seed=1 seed=2 empty=");
        assert_eq!((line.get("seed"), line.get("empty"), line.get("none")), (Some("2"), Some(""), None));
    }

    #[test]
    fn what_is_given_twice_is_named_with_its_last_value() {
        let line = CommandLine::new("a=1 b=2 a=3 c=4 d a= b=5 d c run=c=6");
        assert_eq!(line.repeated(&["a", "b", "c", "d"]).collect::<Vec<_>>(), [("a", ""), ("b", "5")]);
        assert_eq!(line.repeated(&["c", "b"]).collect::<Vec<_>>(), [("b", "5")], "the others may be");
    }

    #[test]
    fn unknown_options_are_named() {
        let line = CommandLine::new("chaos=x choas=y quiet chaos run=other=1");
        assert_eq!(line.unknown(&["chaos"]).collect::<Vec<_>>(), ["choas=y", "quiet", "chaos"]);
    }

    #[test]
    fn bytes_end_at_nul_and_before_what_is_not_text() {
        assert_eq!(CommandLine::from_bytes(b"a=1\0b=2"), CommandLine::new("a=1"));
        let line = CommandLine::from_bytes(b"a=1 b=\xff c=3");
        assert_eq!((line.get("a"), line.get("c"), line.cut_at()), (Some("1"), None, Some(6)));
        assert_eq!(CommandLine::from_bytes(b"").options().count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let line = CommandLine::from_bytes(&bytes);
            prop_assert_eq!(line.unknown(&[]).count(), line.options().count());
        }

        #[test]
        fn options_and_script_make_up_the_line(options in "[a-c= ]{0,20}", script in "[ -~]{0,30}") {
            let text = format!("{options} run={script}");
            let line = CommandLine::new(&text);
            prop_assert_eq!(line.run(), Some(script.as_str()));
            prop_assert_eq!(line.options().collect::<Vec<_>>(), words(&options).collect::<Vec<_>>());
        }
    }
}
