//! Tests of [`super`].

use super::*;
use proptest::prelude::*;

type Stress = (Option<Budget>, Option<u64>, Option<u64>);

fn stress(command: &str) -> Result<Stress, String> {
    fn parse(command: &str) -> Result<Stress, ArgError<'_>> {
        let mut args = Args::new(command).expect("a command");
        let parsed = (args.budget()?, args.number("seed", 0..=u64::MAX)?, args.number("cpus", 1..=8)?);
        args.finish("[duration or ops] [seed=N] [cpus=N]").map(|()| parsed)
    }
    parse(command).map_err(|error| error.to_string())
}

#[test]
fn arguments_come_in_any_order() {
    assert_eq!(stress("stress"), Ok((None, None, None)));
    assert_eq!(stress("stress 5s seed=7 cpus=2"), Ok((Some(Budget::TimeNs(5_000_000_000)), Some(7), Some(2))));
    assert_eq!(stress("stress cpus=8 seed=0x1f 100k"), Ok((Some(Budget::Operations(100_000)), Some(31), Some(8))));
}

#[test]
fn the_rest_is_taken_as_it_stands() {
    let rest = |command| Args::new(command).expect("a command").rest("a name").map_err(|error| error.to_string());
    assert_eq!(rest("replay  --a=b  c.kmt "), Ok("--a=b  c.kmt"));
    assert_eq!(rest("replay "), Err("replay: expected a name".into()));
}

#[test]
fn errors_say_what_was_expected() {
    for (command, message) in [
        ("stress foo", "stress: expected a duration (5s, 2m) or a number of operations (100k), got `foo`"),
        ("stress 5x", "stress: expected a duration (5s, 2m) or a number of operations (100k), got `5x` (unknown unit)"),
        (
            "stress 99999999999999999999",
            "stress: expected a duration (5s, 2m) or a number of operations (100k), got `99999999999999999999` \
             (too large)",
        ),
        ("stress seed=x", "stress: seed= expected a number (7, 0x1f), got `x`"),
        ("stress seed=", "stress: seed= expected a number (7, 0x1f), got ``"),
        ("stress cpus=9", "stress: cpus= expected a number from 1 to 8, got 9"),
        ("stress seed=1 seed=1", "stress: seed= is given twice"),
        ("stress sed=7", "stress: unexpected argument `sed=7`; did you mean `seed=`?"),
        ("stress 5s 6s", "stress: unexpected argument `6s`; usage: stress [duration or ops] [seed=N] [cpus=N]"),
        ("stress -q 5s", "stress: expected a duration (5s, 2m) or a number of operations (100k), got `-q`"),
        ("stress --q 5s", "stress: unexpected argument `--q`; usage: stress [duration or ops] [seed=N] [cpus=N]"),
    ] {
        assert_eq!(stress(command), Err(message.to_string()));
    }
}

#[test]
fn words_and_flags_are_told_apart() {
    let mut args = Args::new("replay --json fork-exec.kmt").expect("a command");
    assert_eq!(args.required("the name of a module"), Ok("fork-exec.kmt"));
    assert!(args.flag("--json"));
    assert!(!args.flag("--quiet"));
    assert_eq!(args.finish("<module> [--json]"), Ok(()));

    for (command, flag) in [("mem --json --json", "--json"), ("smp nmi nmi", "nmi")] {
        let mut args = Args::new(command).expect("a command");
        assert!(args.flag(flag));
        let error = args.finish("").expect_err("a flag twice");
        assert_eq!(
            error.to_string(),
            format!("{}: {flag} is given twice", command.split(' ').next().unwrap_or_default())
        );
    }

    let mut args = Args::new("replay").expect("a command");
    let error = args.required("the name of a module").expect_err("there is none");
    assert_eq!(error.to_string(), "replay: expected the name of a module");
    let mut args = Args::new("mem --jsn").expect("a command");
    assert!(!args.flag("--json"));
    let error = args.finish("[--json]").expect_err("unknown flag");
    assert_eq!(error.to_string(), "mem: unexpected argument `--jsn`; did you mean `--json`?");
    assert_eq!(
        Args::new("quit now").map(|args| args.finish("").map_err(|error| error.to_string())),
        Some(Err("quit: unexpected argument `now`, it takes none".to_string()))
    );
}

#[test]
fn a_blank_command_has_no_arguments() {
    assert!(Args::new("  ").is_none());
}

#[test]
fn words_beyond_the_limit_are_refused() {
    let command = "peek".to_string() + &" 1".repeat(MAX_WORDS + 1);
    let mut args = Args::new(&command).expect("a command");
    assert_eq!(core::iter::from_fn(|| args.word()).count(), MAX_WORDS);
    assert!(args.finish("").is_err());
}

proptest! {
    #[test]
    fn any_command_is_read_or_refused(command in "stress [ -~]{0,60}") {
        if let Err(message) = stress(&command) {
            prop_assert!(message.starts_with("stress"), "{}", message);
        }
    }

    #[test]
    fn a_budget_is_printed_as_it_is_read(value in prop_oneof![any::<u64>(), 0..100u64], scale in 0..14u32) {
        let value = value.saturating_mul(10u64.pow(scale));
        for budget in [Budget::TimeNs(value), Budget::Operations(value)] {
            prop_assert_eq!(Budget::parse(&budget.to_string()), Ok(budget));
        }
    }
}
