//! The archive in the initrd: a plain ustar file, kernel first, modules after it.
//!
//! An archive is a run of 512-byte blocks: a header, the file's content padded to whole blocks, the next header, and at
//! least one zero block at the end. Directories, device nodes and the side records of GNU and pax archives are stepped
//! over (their long names are honoured); links and sparse files are refused, because a module that silently is not
//! there costs its owner an evening. Nothing in a header is trusted before its checksum is right.
//!
//! Called by: the binary's `files`.

use core::fmt;

/// Bytes of a block.
const BLOCK: usize = 512;

/// Why an archive was refused; `at` is the offset of the header in the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArchiveError {
    /// The archive is empty or its first block is no ustar header.
    NotUstar,
    /// A header whose checksum or magic is wrong.
    BrokenHeader {
        /// Offset of the header.
        at: usize,
    },
    /// The archive ends inside a file, or without its final zero block.
    Truncated {
        /// Offset of the header of the file that is cut off, or of the missing end.
        at: usize,
    },
    /// A link, a sparse file, or a kind this loader does not know.
    Unsupported {
        /// Offset of the header.
        at: usize,
        /// The type flag.
        kind: u8,
    },
    /// A file without a name.
    Nameless {
        /// Offset of the header.
        at: usize,
    },
    /// No regular file in the archive.
    NoKernel,
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotUstar => write!(f, "the initrd is not a ustar archive (make one with: tar --format=ustar -cf)"),
            Self::BrokenHeader { at } => write!(f, "archive: broken header at offset {at:#x}"),
            Self::Truncated { at } => write!(f, "archive: cut off: what should be at offset {at:#x} is not all there"),
            Self::Unsupported { at, kind } => {
                let kind = kind as char;
                write!(f, "archive: entry of type '{}' at offset {at:#x}: only plain files", kind.escape_default())
            }
            Self::Nameless { at } => write!(f, "archive: file without a name at offset {at:#x}"),
            Self::NoKernel => write!(f, "archive: no file in it; the first one must be the kernel"),
        }
    }
}

/// A file's name: a ustar prefix, which may be empty, and the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a> {
    prefix: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Name<'a> {
    fn new(prefix: &'a [u8], rest: &'a [u8]) -> Self {
        // `tar -C folder .` writes "./kernel"; the protocol's path is "/kernel".
        match prefix {
            [] => Self { prefix, rest: strip(rest) },
            _ => Self { prefix: strip(prefix), rest },
        }
    }

    /// The bytes of the name, without any leading "./" or "/".
    pub fn bytes(&self) -> impl Iterator<Item = u8> + Clone + 'a {
        let slash: &[u8] = if self.prefix.is_empty() { b"" } else { b"/" };
        self.prefix.iter().chain(slash).chain(self.rest).copied()
    }

    /// Bytes in the name.
    pub fn len(&self) -> usize {
        self.bytes().count()
    }

    /// True if nothing is left of the name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn strip(mut name: &[u8]) -> &[u8] {
    while let Some(shorter) = name.strip_prefix(b"./").or_else(|| name.strip_prefix(b"/")) {
        name = shorter;
    }
    name
}

/// A regular file, by its place in the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// Offset of its content in the archive.
    pub offset: usize,
    /// Bytes of content.
    pub size: usize,
}

/// Steps through the regular files of an archive; stops after the first error.
#[derive(Clone)]
pub struct Entries<'a> {
    archive: &'a [u8],
    at: usize,
    /// Name from a GNU 'L' or pax 'x' record, for the next file only.
    long_name: Option<&'a [u8]>,
    done: bool,
}

/// The regular files of `archive`, in order.
pub fn entries(archive: &[u8]) -> Entries<'_> {
    Entries { archive, at: 0, long_name: None, done: false }
}

/// Checks the whole archive; returns the number of files in it, at least one.
///
/// # Errors
/// Any [`ArchiveError`].
pub fn check(archive: &[u8]) -> Result<usize, ArchiveError> {
    let mut nr_files = 0;
    for entry in entries(archive) {
        entry?;
        nr_files += 1;
    }
    if nr_files == 0 { Err(ArchiveError::NoKernel) } else { Ok(nr_files) }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let result = self.step();
        self.done = !matches!(result, Ok(Some(_)));
        result.transpose()
    }
}

impl<'a> Entries<'a> {
    fn step(&mut self) -> Result<Option<Entry<'a>>, ArchiveError> {
        loop {
            let at = self.at;
            let header = self.archive.get(at..at + BLOCK);
            let header = header.ok_or(if at == 0 {
                ArchiveError::NotUstar
            } else {
                ArchiveError::Truncated { at: at.min(self.archive.len()) }
            })?;
            if header.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            let is_posix = &header[257..263] == b"ustar\0";
            let is_gnu = &header[257..263] == b"ustar ";
            if at == 0 && !(is_posix || is_gnu) {
                return Err(ArchiveError::NotUstar);
            }
            if !(is_posix || is_gnu) || !checksum_is_right(header) {
                return Err(ArchiveError::BrokenHeader { at });
            }
            let size = number(&header[124..136]).ok_or(ArchiveError::BrokenHeader { at })?;
            let offset = at + BLOCK;
            let end = offset.checked_add(size).filter(|&end| end <= self.archive.len());
            let end = end.ok_or(ArchiveError::Truncated { at })?;
            self.at = end.next_multiple_of(BLOCK);
            let content = &self.archive[offset..end];
            match header[156] {
                b'0' | 0 | b'7' => {
                    let name = match self.long_name.take() {
                        Some(long) => Name::new(b"", long),
                        // Old GNU headers keep time stamps where ustar has the prefix.
                        None => Name::new(if is_posix { text(&header[345..500]) } else { b"" }, text(&header[..100])),
                    };
                    match name.bytes().last() {
                        None => return Err(ArchiveError::Nameless { at }),
                        // Archives from before ustar mark directories by the slash alone.
                        Some(b'/') => {}
                        Some(_) => return Ok(Some(Entry { name, offset, size })),
                    }
                }
                b'L' => self.long_name = Some(text(content)),
                b'x' => self.long_name = pax_path(content).ok_or(ArchiveError::BrokenHeader { at })?.or(self.long_name),
                // Global pax headers, long link names, volume labels.
                b'g' | b'K' | b'V' => {}
                // Devices, directories, pipes.
                b'3' | b'4' | b'5' | b'6' => self.long_name = None,
                kind => return Err(ArchiveError::Unsupported { at, kind }),
            }
        }
    }
}

/// The bytes before the first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// An octal number, padded by spaces or zero bytes, or GNU's big-endian binary form for large files.
fn number(field: &[u8]) -> Option<usize> {
    if let [0x80, rest @ ..] = field {
        return rest.iter().try_fold(0_usize, |value, &byte| value.checked_mul(256)?.checked_add(usize::from(byte)));
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, padding) = digits.split_at(end);
    if digits.is_empty() || !padding.iter().all(|&byte| byte == 0 || byte == b' ') {
        return None;
    }
    digits.iter().try_fold(0_usize, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(usize::from(digit - b'0')),
        _ => None,
    })
}

/// The sum of all header bytes, the checksum field itself read as spaces.
fn checksum_is_right(header: &[u8]) -> bool {
    let sum: usize = header.iter().map(|&byte| usize::from(byte)).sum();
    let field: usize = header[148..156].iter().map(|&byte| usize::from(byte)).sum();
    number(&header[148..156]) == Some(sum - field + 8 * usize::from(b' '))
}

/// The `path` of a pax record list, if it has one: lines of "length key=value\n", the length counting the whole line.
/// `None` if the list is malformed.
fn pax_path(mut records: &[u8]) -> Option<Option<&[u8]>> {
    let mut path = None;
    while !records.is_empty() {
        let space = records.iter().position(|&byte| byte == b' ')?;
        let length = decimal(&records[..space])?;
        let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
        path = record.strip_prefix(b"path=").or(path);
        records = &records[length..];
    }
    Some(path)
}

fn decimal(digits: &[u8]) -> Option<usize> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
