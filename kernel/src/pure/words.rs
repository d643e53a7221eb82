//! Scripts, commands and words: how a line of text becomes commands.
//!
//! `;` separates commands and blanks separate words, always: there are no quotes, no escapes and no variables, so what
//! one sees is what runs.
//!
//! Called by: the shell, for a line at the prompt and for `run=`.

/// The commands of `script`, in order, without the blanks around them; empty ones are left out. A line end separates
/// them as well.
pub fn commands(script: &str) -> impl Iterator<Item = &str> + Clone {
    script.split([';', '\n', '\r']).map(str::trim).filter(|command| !command.is_empty())
}

/// The words of `command`, in order.
pub fn words(command: &str) -> impl Iterator<Item = &str> + Clone {
    command.split_ascii_whitespace()
}

/// The first word of `command`, which names it, and the rest; nothing if it is blank.
pub fn split_name(command: &str) -> Option<(&str, &str)> {
    let command = command.trim_ascii();
    let end = command.find(|c: char| c.is_ascii_whitespace()).unwrap_or(command.len());
    let (name, rest) = command.split_at(end);
    (!name.is_empty()).then_some((name, rest.trim_ascii_start()))
}

/// Splits `key=value` at the first `=`. A key is letters, digits, `-`, `_` and `.` and begins with a letter; a word
/// without such a key is no pair.
pub fn key_value(word: &str) -> Option<(&str, &str)> {
    let (key, value) = word.split_once('=')?;
    let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_key.then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_script_is_cut_at_semicolons() {
        assert_eq!(
            commands(" cpus; mem;;\treplay x.kmt ; \n quit;").collect::<Vec<_>>(),
            ["cpus", "mem", "replay x.kmt", "quit"]
        );
        assert_eq!(commands("mem\r\ncpus\nquit").collect::<Vec<_>>(), ["mem", "cpus", "quit"]);
        assert_eq!(commands(" ; ;").count(), 0);
    }

    #[test]
    fn the_name_is_the_first_word() {
        assert_eq!(split_name("  stress  5s seed=7 "), Some(("stress", "5s seed=7")));
        assert_eq!(split_name("quit"), Some(("quit", "")));
        assert_eq!(split_name(" \t"), None);
    }

    #[test]
    fn a_pair_needs_a_proper_key() {
        assert_eq!(key_value("seed=0x1f"), Some(("seed", "0x1f")));
        assert_eq!(key_value("a="), Some(("a", "")));
        assert_eq!(key_value("run=a=b"), Some(("run", "a=b")));
        assert_eq!(key_value("log.level-2=x"), Some(("log.level-2", "x")));
        for word in ["seed", "=7", "7=7", "a b=c", "é=1", "--x=1"] {
            assert_eq!(key_value(word), None, "{word}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_separators_is_lost(script in "[ -~;\t]{0,80}") {
            let joined: String = commands(&script).flat_map(words).collect();
            let wanted: String = script.chars().filter(|c| !c.is_ascii_whitespace() && *c != ';').collect();
            prop_assert_eq!(joined, wanted);
        }

        #[test]
        fn any_text_can_be_split(text in any::<String>()) {
            for command in commands(&text) {
                if let Some((name, rest)) = split_name(command) {
                    prop_assert!(!name.is_empty() && command.contains(rest));
                }
                words(command).for_each(|word| _ = key_value(word));
            }
        }
    }
}
