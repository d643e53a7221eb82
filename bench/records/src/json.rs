//! JSON, one object on a line, written field by field without storing any of it.
//!
//! Text is escaped as RFC 8259 asks (section 7): quotes, backslashes and control characters; anything else is UTF-8
//! already and goes out as it is. Names come from the program and are not escaped.
//!
//! Invariant: after an error of the writer nothing more is written, and the error comes out at the end of the line.
//!
//! Called by: [`crate::record`], and the kernel's commands.

use core::fmt::{self, Display, Write};

/// An object that is being written.
pub struct Object<'w> {
    out: &'w mut dyn Write,
    is_first: bool,
    result: fmt::Result,
}

/// Writes an object whose fields come from `fill`, and a line end.
pub fn line(out: &mut dyn Write, fill: impl FnOnce(&mut Object<'_>)) -> fmt::Result {
    out.write_char('{')?;
    let mut object = Object { out, is_first: true, result: Ok(()) };
    fill(&mut object);
    object.result?;
    out.write_str("}\n")
}

impl Object<'_> {
    fn field(&mut self, name: [&str; 2], value: impl FnOnce(&mut dyn Write) -> fmt::Result) {
        let comma = if core::mem::take(&mut self.is_first) { "" } else { "," };
        let [name, unit] = name;
        self.result = self.result.and_then(|()| {
            write!(self.out, "{comma}\"{name}{unit}\":")?;
            value(self.out)
        });
    }

    /// A string: what `value` prints.
    pub fn text(&mut self, name: &str, value: impl Display) {
        self.field([name, ""], |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value}")?;
            out.write_char('"')
        });
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: impl Into<i128>) {
        self.number_in(name, "", value);
    }

    /// A number with its unit behind the name: `size` in `_bytes`.
    pub fn number_in(&mut self, name: &str, unit: &str, value: impl Into<i128>) {
        let value = value.into();
        self.field([name, unit], |out| write!(out, "{value}"));
    }

    /// A quotient with three decimals, rounded down; `null` where nothing was divided by.
    pub fn ratio(&mut self, name: &str, part: u64, whole: u64) {
        self.field([name, ""], |out| match whole {
            0 => out.write_str("null"),
            _ => {
                let milli = u128::from(part) * 1000 / u128::from(whole);
                write!(out, "{}.{:03}", milli / 1000, milli % 1000)
            }
        });
    }

    /// A truth.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.field([name, ""], |out| write!(out, "{value}"));
    }

    /// Nothing: what is not known.
    pub fn null(&mut self, name: &str) {
        self.field([name, ""], |out| out.write_str("null"));
    }

    /// Numbers in their order.
    pub fn list(&mut self, name: &str, values: &[u64]) {
        self.field([name, ""], |out| {
            let mut opening = '[';
            for value in values {
                write!(out, "{opening}{value}")?;
                opening = ',';
            }
            out.write_str(if values.is_empty() { "[]" } else { "]" })
        });
    }
}

/// Escapes what is written through it.
struct Escaped<'w>(&'w mut dyn Write);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c == '"' || c == '\\' || c < ' ') {
            // All that is searched for is one byte long.
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            match special.as_bytes()[0] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            rest = &special[1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(fill: impl FnOnce(&mut Object<'_>)) -> String {
        let mut text = String::new();
        line(&mut text, fill).expect("a string takes everything");
        text
    }

    /// Reads a JSON string back; `None` if it is none.
    fn unescaped(text: &str) -> Option<String> {
        let inner = text.strip_prefix('"')?.strip_suffix('"')?;
        let mut chars = inner.chars();
        let mut result = String::new();
        while let Some(c) = chars.next() {
            match c {
                '"' => return None,
                c if c < ' ' => return None,
                '\\' => match chars.next()? {
                    c @ ('"' | '\\') => result.push(c),
                    'n' => result.push('\n'),
                    'u' => {
                        let digits: String = chars.by_ref().take(4).collect();
                        result.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                    }
                    _ => return None,
                },
                c => result.push(c),
            }
        }
        Some(result)
    }

    #[test]
    fn fields_stand_between_commas() {
        let text = written(|object| {
            object.text("kind", "cache");
            object.number("out", 12_u64);
            object.number_in("size", "_bytes", 64_u32);
            object.number("difference", -3_i64);
            object.number("most", u64::MAX);
            object.ratio("objects_per_slab", 7, 2);
            object.ratio("nothing", 7, 0);
            object.boolean("ok", true);
            object.null("unknown");
            object.list("none", &[]);
            object.list("some", &[1, 2, u64::MAX]);
        });
        assert_eq!(
            text,
            "{\"kind\":\"cache\",\"out\":12,\"size_bytes\":64,\"difference\":-3,\"most\":18446744073709551615,\
             \"objects_per_slab\":3.500,\"nothing\":null,\"ok\":true,\"unknown\":null,\"none\":[],\"some\":[1,2,18446744073709551615]}\n"
        );
        assert_eq!(written(|_| ()), "{}\n");
    }

    #[test]
    fn text_is_escaped_however_it_is_cut() {
        let text = written(|object| object.text("name", format_args!("{}{}", "a\"b\\", "c\nd\u{1}é")));
        assert_eq!(text, "{\"name\":\"a\\\"b\\\\c\\nd\\u0001é\"}\n");
    }

    #[test]
    fn an_error_of_the_writer_comes_out() {
        struct Full(usize);
        impl Write for Full {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        let fill = |object: &mut Object<'_>| (0..10).for_each(|i: u32| object.number("n", i));
        assert!((0..61).all(|room| line(&mut Full(room), fill).is_err()));
        assert!(line(&mut Full(62), fill).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(text in any::<String>()) {
            let line = written(|object| object.text("t", &text));
            prop_assert_eq!(line.matches('\n').count(), 1);
            let value = line.strip_prefix("{\"t\":").and_then(|rest| rest.strip_suffix("}\n"));
            prop_assert_eq!(value.and_then(unescaped), Some(text));
        }
    }
}
