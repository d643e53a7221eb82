//! Records that the kernel prints: one flat JSON object a line, of text, numbers and truth values.
//!
//! A strict reader of that much JSON: what it does not know it refuses, so a line that it takes any other reader takes.

use std::collections::BTreeMap;

/// A value in a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, without escapes.
    Text(String),
    /// A number.
    Number(f64),
    /// True or false.
    Truth(bool),
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record(BTreeMap<String, Value>);

impl Record {
    /// Reads a line; `None` if it is no flat JSON object.
    pub fn parse(line: &str) -> Option<Self> {
        let mut rest = line.trim().strip_prefix('{')?.strip_suffix('}')?;
        let mut values = BTreeMap::new();
        while !rest.is_empty() {
            let (key, after) = text(rest)?;
            let (value, after) = value(after.strip_prefix(':')?)?;
            if values.insert(key.to_owned(), value).is_some() {
                return None;
            }
            rest = match after.strip_prefix(',') {
                Some("") => return None,
                Some(more) => more,
                None if after.is_empty() => after,
                None => return None,
            };
        }
        Some(Self(values))
    }

    /// The text behind `key`; empty if there is none.
    pub fn text(&self, key: &str) -> &str {
        match self.0.get(key) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// The number behind `key`; not a number if there is none.
    pub fn number(&self, key: &str) -> f64 {
        match self.0.get(key) {
            Some(Value::Number(number)) => *number,
            _ => f64::NAN,
        }
    }

    /// Whether there is a true behind `key`.
    pub fn is(&self, key: &str) -> bool {
        self.0.get(key) == Some(&Value::Truth(true))
    }
}

/// The records of a serial log, in order: every line that begins with a brace. The first that is none is the error.
///
/// # Errors
///
/// The line.
pub fn records(serial: &str) -> Result<Vec<Record>, String> {
    let lines = serial.lines().map(str::trim).filter(|line| line.starts_with('{'));
    lines.map(|line| Record::parse(line).ok_or_else(|| line.to_owned())).collect()
}

/// Text in quotes, and what follows it.
fn text(rest: &str) -> Option<(&str, &str)> {
    let (text, after) = rest.strip_prefix('"')?.split_once('"')?;
    (!text.contains('\\') && !text.contains(char::is_control)).then_some((text, after))
}

fn value(rest: &str) -> Option<(Value, &str)> {
    if rest.starts_with('"') {
        return text(rest).map(|(text, after)| (Value::Text(text.to_owned()), after));
    }
    let (word, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
    let value = match word {
        "true" => Value::Truth(true),
        "false" => Value::Truth(false),
        // Rust reads more than JSON allows: `inf`, `+1`, `.5`.
        _ if word.bytes().all(|b| b.is_ascii_digit() || b == b'.') && word.as_bytes().first()? != &b'.' => {
            Value::Number(word.parse().ok()?)
        }
        _ => return None,
    };
    Some((value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read() {
        let record = Record::parse(r#"{"kind":"bench","cpus":2,"to_heap":4.445,"pass":true}"#).expect("a record");
        assert_eq!((record.text("kind"), record.number("cpus")), ("bench", 2.0));
        assert!(record.is("pass") && !record.is("kind") && record.number("what").is_nan());
        assert_eq!(Record::parse("{}"), Some(Record::default()));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for line in [
            r#"{"a":1"#,
            r#"{"a":-}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a":nan}"#,
            r#"{"a":.5}"#,
            r#"{"a":1,"a":2}"#,
            r#"{a:1}"#,
            r#"{"a":"\"}"#,
        ] {
            assert_eq!(Record::parse(line), None, "{line}");
        }
        assert_eq!(records("x\r\n{\"a\":1}\r\n{\"a\"}\r\n"), Err("{\"a\"}".to_owned()));
    }
}
