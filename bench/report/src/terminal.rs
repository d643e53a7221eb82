//! Texts of recordings on a terminal: what would steer it, begin a line of its own or turn the direction of writing is shown
//! as the replacement character, so that a name in a recording cannot pass for a verdict.

/// One line of text.
pub fn line(text: &str) -> String {
    let steers = |c: char| c.is_control() || plot::svg::turns(c);
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_done() {
        assert_eq!(
            line("\u{1b}[31ma\r\nbench-compare: PASS\u{202e}"),
            "\u{fffd}[31ma\u{fffd}\u{fffd}bench-compare: PASS\u{fffd}"
        );
        assert_eq!(line("1.02 µs ↑ é"), "1.02 µs ↑ é");
    }
}
