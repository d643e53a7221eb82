//! Options with a value of their own: `--cpus 2`, or `--cpus=2`.
//!
//! An option claims its word and the one behind it, so it is asked for before the words in order.

use core::ops::RangeInclusive;

use super::{ArgError, Args, MAX_WORDS, Problem};
use crate::units;
use crate::words::words;

impl<'a> Args<'a> {
    /// The word behind `option` (written with its dashes: `--cpus 2`), if the option is there; `expected` says what that
    /// word is, with an article.
    pub fn option(&mut self, option: &'static str, expected: &'static str) -> Result<Option<&'a str>, ArgError<'a>> {
        self.remember(option);
        let is_ours = |word: &str| word == option || joined(word, option).is_some();
        let Some(at) = words(self.text).take(MAX_WORDS).position(is_ours) else { return Ok(None) };
        if words(self.text).skip(at + 1).any(is_ours) {
            return Err(self.error(Problem::Repeated { key: option }));
        }
        let mut behind = words(self.text).take(MAX_WORDS).skip(at);
        if let Some(value) = behind.next().and_then(|word| joined(word, option)) {
            self.used |= 1 << at;
            return Ok(Some(value));
        }
        let value = behind.next().filter(|word| !word.starts_with("--"));
        let value = value.ok_or_else(|| self.error(Problem::NoValue { key: option, expected }))?;
        self.used |= 0b11 << at;
        Ok(Some(value))
    }

    /// The number behind `option`, if the option is there; it must be in `range`.
    pub fn option_number(
        &mut self,
        option: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ArgError<'a>> {
        const EXPECTED: &str = "a number (7, 100k)";
        let Some(got) = self.option(option, EXPECTED)? else { return Ok(None) };
        let number = units::number(got).or_else(|_| units::count(got));
        let number =
            number.map_err(|why| self.error(Problem::Invalid { key: Some(option), expected: EXPECTED, got, why }))?;
        if !range.contains(&number) {
            let allowed = (*range.start(), *range.end());
            return Err(self.error(Problem::OutOfRange { key: option, got: number, allowed }));
        }
        Ok(Some(number))
    }
}

/// The value in `--cpus=2`, if that is the option.
fn joined<'a>(word: &'a str, option: &str) -> Option<&'a str> {
    word.strip_prefix(option)?.strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parsed = (Option<String>, Option<u64>, Vec<String>);

    fn parse(command: &str) -> Result<Parsed, String> {
        fn read(command: &str) -> Result<Parsed, ArgError<'_>> {
            let mut args = Args::new(command).expect("a command");
            let cpus = args.option("--cpus", "a list of numbers of CPUs")?.map(str::to_owned);
            let reps = args.option_number("--reps", 1..=1000)?;
            let words = core::iter::from_fn(|| args.word()).map(str::to_owned).collect();
            args.finish("[workload..] [--cpus 1,2] [--reps R]").map(|()| (cpus, reps, words))
        }
        read(command).map_err(|error| error.to_string())
    }

    #[test]
    fn an_option_takes_the_word_behind_it() {
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        assert_eq!(parse("bench"), Ok((None, None, Vec::new())));
        assert_eq!(
            parse("bench pair64 --cpus 1,2 lifo --reps 1k"),
            Ok((Some("1,2".into()), Some(1000), words(&["pair64", "lifo"])))
        );
        assert_eq!(parse("bench --cpus=1,2 pair64 --reps=7"), Ok((Some("1,2".into()), Some(7), words(&["pair64"]))));
    }

    #[test]
    fn errors_name_the_option() {
        for (command, message) in [
            ("bench --cpus", "bench: --cpus expected a list of numbers of CPUs"),
            ("bench --cpus --reps 2", "bench: --cpus expected a list of numbers of CPUs"),
            ("bench --reps 0", "bench: --reps expected a number from 1 to 1000, got 0"),
            ("bench --reps x", "bench: --reps expected a number (7, 100k), got `x`"),
            ("bench --reps 1 --reps 2", "bench: --reps is given twice"),
            ("bench --reps 1 --reps=2", "bench: --reps is given twice"),
            ("bench --reps=", "bench: --reps expected a number (7, 100k), got ``"),
            ("bench --rep=1", "bench: unexpected argument `--rep=1`; did you mean `--reps`?"),
            ("bench --rep 1", "bench: unexpected argument `--rep`; did you mean `--reps`?"),
        ] {
            assert_eq!(parse(command), Err(message.to_string()));
        }
    }
}
