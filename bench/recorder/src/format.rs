//! How the kernel says that it lays out what it records: `events/header_page`, and each event's `format`.
//!
//! Nothing about a layout is known in advance: offsets and sizes of all fields are read from these files, because they
//! differ between kernel versions and configurations.
//!
//! Invariant: a [`Field`] that stands for a number is 1, 2, 4 or 8 bytes wide.
//!
//! Called by: [`crate::page`] and [`crate::decode`].

use std::fmt;

/// Where a field lies: in a page for those of `header_page`, in an event for those of `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes before it.
    pub offset: usize,
    /// Its bytes.
    pub size: usize,
}

/// One event's number and fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFormat {
    /// Its name, such as `kmalloc`.
    pub name: String,
    /// What `common_type` holds in it.
    pub id: u64,
    fields: Vec<(String, Field)>,
}

/// A description that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// There is no line with the event's number.
    NoId {
        /// Which file.
        of: String,
    },
    /// A field that is needed is not there.
    NoField {
        /// Which file.
        of: String,
        /// The field.
        field: String,
    },
    /// A number of a width that no number has.
    Width {
        /// Which file.
        of: String,
        /// The field.
        field: String,
        /// Its bytes.
        size: usize,
    },
    /// The host is big-endian: there the bits of an event's header lie the other way round.
    BigEndian,
}

impl Field {
    /// The number in this field of `bytes`, of the host's byte order; nothing if it lies outside.
    pub fn number(&self, bytes: &[u8]) -> Option<u64> {
        let field = bytes.get(self.offset..self.offset.checked_add(self.size)?)?;
        match *field {
            [a] => Some(a.into()),
            [a, b] => Some(u16::from_ne_bytes([a, b]).into()),
            [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d]).into()),
            [a, b, c, d, e, f, g, h] => Some(u64::from_ne_bytes([a, b, c, d, e, f, g, h])),
            _ => None,
        }
    }
}

impl EventFormat {
    /// Reads an event's `format`.
    ///
    /// # Errors
    ///
    /// [`FormatError::NoId`].
    pub fn parse(name: &str, text: &str) -> Result<EventFormat, FormatError> {
        let id = text.lines().find_map(|line| line.strip_prefix("ID:")?.trim().parse().ok());
        let id = id.ok_or_else(|| FormatError::NoId { of: name.into() })?;
        Ok(EventFormat { name: name.into(), id, fields: text.lines().filter_map(field).collect() })
    }

    /// The field of that name, which must be a number.
    ///
    /// # Errors
    ///
    /// [`FormatError::NoField`], [`FormatError::Width`].
    pub fn number(&self, name: &str) -> Result<Field, FormatError> {
        number_among(&self.fields, &self.name, name)
    }
}

/// The fields of `header_page`.
pub(crate) fn fields(text: &str) -> Vec<(String, Field)> {
    text.lines().filter_map(field).collect()
}

pub(crate) fn among(fields: &[(String, Field)], of: &str, name: &str) -> Result<Field, FormatError> {
    let found = fields.iter().find(|(field, _)| field == name);
    found.map(|(_, field)| *field).ok_or_else(|| FormatError::NoField { of: of.into(), field: name.into() })
}

pub(crate) fn number_among(fields: &[(String, Field)], of: &str, name: &str) -> Result<Field, FormatError> {
    match among(fields, of, name)? {
        field if matches!(field.size, 1 | 2 | 4 | 8) => Ok(field),
        Field { size, .. } => Err(FormatError::Width { of: of.into(), field: name.into(), size }),
    }
}

/// `field:unsigned long pfn;  offset:8;  size:8;  signed:0;`, with the name last in its declaration. A line of another
/// shape is no field.
fn field(line: &str) -> Option<(String, Field)> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
    let declaration = parts.next()?;
    let (mut offset, mut size) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = value.trim().parse().ok(),
            Some(("size", value)) => size = value.trim().parse().ok(),
            _ => {}
        }
    }
    let name = declaration.split_whitespace().next_back()?.trim_start_matches('*');
    let name = name.split('[').next()?;
    Some((name.to_owned(), Field { offset: offset?, size: size? }))
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::NoId { of } => write!(f, "the format of {of} has no line `ID:`"),
            FormatError::NoField { of, field } => write!(f, "the format of {of} has no field `{field}`"),
            FormatError::Width { of, field, size } => {
                write!(f, "field `{field}` of {of} has {size} bytes, which no number has")
            }
            FormatError::BigEndian => f.write_str("this host is big-endian, which is not supported"),
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! What a Linux 6.18 kernel says.

    pub(crate) const COMMON: &str = "format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
\n";

    pub(crate) fn kmalloc() -> String {
        format!(
            "name: kmalloc\nID: 658\n{COMMON}\
            \tfield:unsigned long call_site;\toffset:8;\tsize:8;\tsigned:0;\n\
            \tfield:const void * ptr;\toffset:16;\tsize:8;\tsigned:0;\n\
            \tfield:size_t bytes_req;\toffset:24;\tsize:8;\tsigned:0;\n\
            \nprint fmt: \"call_site=%pS ptr=%p\", (void *)REC->call_site, REC->ptr\n"
        )
    }

    pub(crate) const HEADER_PAGE: &str = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let format = EventFormat::parse("kmalloc", &fixture::kmalloc()).expect("a good format");
        assert_eq!(format.id, 658);
        assert_eq!(format.number("ptr"), Ok(Field { offset: 16, size: 8 }));
        assert_eq!(format.number("common_type"), Ok(Field { offset: 0, size: 2 }));
        let error = format.number("pfn").expect_err("no such field");
        assert_eq!(error.to_string(), "the format of kmalloc has no field `pfn`");
    }

    #[test]
    fn arrays_and_pointers_lose_their_decoration() {
        let (name, _) = field("\tfield:__data_loc char[] name;\toffset:24;\tsize:4;\tsigned:0;").expect("a field");
        assert_eq!(name, "name");
        let (name, found) = field("\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;").expect("a field");
        assert_eq!((name.as_str(), found), ("comm", Field { offset: 8, size: 16 }));
        let (name, _) = field("\tfield:const void *ptr;\toffset:8;\tsize:8;\tsigned:0;").expect("a field");
        assert_eq!(name, "ptr");
    }

    #[test]
    fn an_array_is_no_number() {
        let text = "ID: 1\n\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n";
        let format = EventFormat::parse("sched", text).expect("a good format");
        assert_eq!(
            format.number("comm"),
            Err(FormatError::Width { of: "sched".into(), field: "comm".into(), size: 16 })
        );
        assert_eq!(EventFormat::parse("x", "name: x\n"), Err(FormatError::NoId { of: "x".into() }));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(field:[a-z *\\[]{0,9};? ?\toffset:[0-9]{0,30};?\tsize:[0-9]{0,30};\n|ID:.{0,9}\n|.{0,20}\n){0,8}") {
            if let Ok(format) = EventFormat::parse("any", &text) {
                for (name, field) in &format.fields {
                    let _ = (format.number(name), field.number(&[0; 64]));
                }
            }
        }
    }
}
