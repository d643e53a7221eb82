//! Records turned on their side: what repeats from line to line once, and then each field's values one below the other.
//!
//! A compressor that sees a column of like numbers needs half of what it needs for the same numbers in rows, between
//! names of fields. Lines that differ in nothing but values have one *shape*, in which [`SLOT`] stands for each of them. Layout,
//! in lines: the number of shapes; the shapes; a letter for each line of the text, which says its shape; and for
//! each shape, slot by slot, the values of its lines.
//!
//! Nothing here needs the text to be JSON: a value is a string that no colon follows, or what begins as a number or a word
//! does, up to the next comma or bracket, and whatever else it might be, it is put back where it was.
//!
//! Invariant: [`rows`] of [`columns`] is the text.

use alloc::vec::Vec;

/// Stands for a value in a shape. JSON has no such character, except escaped.
const SLOT: u8 = 1;
/// The letter of the first shape.
const FIRST_LETTER: u8 = b'A';
/// At most so many shapes: records have some.
const MAX_SHAPES: usize = 64;

/// A piece of a line.
enum Piece<'t> {
    /// The same in each line of a shape.
    Fixed(&'t [u8]),
    /// A value.
    Value(&'t [u8]),
}

/// The pieces of a line, from left to right.
fn pieces(line: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = line;
    core::iter::from_fn(move || {
        let first = *rest.first()?;
        let (len, is_value) = match first {
            b'"' => {
                let len = string_len(rest);
                (len, rest.get(len) != Some(&b':'))
            }
            b'0'..=b'9' | b'-' | b'a'..=b'z' => {
                (rest.iter().position(|byte| b",]}\"".contains(byte)).unwrap_or(rest.len()), true)
            }
            _ => (1, false),
        };
        let (piece, after) = rest.split_at(len);
        rest = after;
        Some(if is_value { Piece::Value(piece) } else { Piece::Fixed(piece) })
    })
}

/// The length of the string in quotes that `text` begins with; all of it if the string does not end.
fn string_len(text: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = text.iter().skip(1).position(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |at| at + 2)
}

fn shape_of(line: &[u8], shape: &mut Vec<u8>) {
    shape.clear();
    for piece in pieces(line) {
        match piece {
            Piece::Fixed(text) => shape.extend_from_slice(text),
            Piece::Value(_) => shape.push(SLOT),
        }
    }
}

fn value_of(line: &[u8], nth: usize) -> &[u8] {
    let mut values = pieces(line).filter_map(|piece| match piece {
        Piece::Value(value) => Some(value),
        Piece::Fixed(_) => None,
    });
    values.nth(nth).unwrap_or_default()
}

fn nr_slots(shape: &[u8]) -> usize {
    shape.iter().filter(|byte| **byte == SLOT).count()
}

/// Turns `text` on its side; `None` if it does not end with a line end, has a [`SLOT`] in it, or too many shapes.
pub fn columns(text: &[u8]) -> Option<Vec<u8>> {
    let body = text.strip_suffix(b"\n").filter(|body| !body.contains(&SLOT))?;
    let lines = || body.split(|byte| *byte == b'\n');
    let mut shapes: Vec<Vec<u8>> = Vec::new();
    let mut letters = Vec::new();
    let mut shape = Vec::new();
    for line in lines() {
        shape_of(line, &mut shape);
        let at = shapes.iter().position(|known| *known == shape).unwrap_or_else(|| {
            shapes.push(shape.clone());
            shapes.len() - 1
        });
        if at == MAX_SHAPES {
            return None;
        }
        letters.push(FIRST_LETTER + at as u8);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut put = |line: &[u8]| {
        out.extend_from_slice(line);
        out.push(b'\n');
    };
    put(&[FIRST_LETTER + shapes.len() as u8]);
    shapes.iter().for_each(|shape| put(shape));
    put(&letters);
    for (at, shape) in shapes.iter().enumerate() {
        for slot in 0..nr_slots(shape) {
            let ours = lines().zip(&letters).filter(|(_, letter)| usize::from(**letter - FIRST_LETTER) == at);
            ours.for_each(|(line, _)| put(value_of(line, slot)));
        }
    }
    Some(out)
}

/// The text that was turned on its side to `columns`; `None` if none was, or one of more than `most` bytes.
pub fn rows(columns: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut lines = columns.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
    let &[count] = lines.next()? else { return None };
    let nr_shapes = usize::from(count.checked_sub(FIRST_LETTER)?);
    if nr_shapes > MAX_SHAPES {
        return None;
    }
    let shapes: Vec<&[u8]> = lines.by_ref().take(nr_shapes).collect();
    let letters = lines.next()?;
    let values: Vec<&[u8]> = lines.collect();
    // Where the values of each shape begin, and how many lines have it.
    let mut starts = Vec::new();
    let mut end = 0_usize;
    for (shape, letter) in shapes.iter().zip(FIRST_LETTER..) {
        let nr_lines = letters.iter().filter(|byte| **byte == letter).count();
        starts.push((end, nr_lines));
        end = end.checked_add(nr_slots(shape).checked_mul(nr_lines)?)?;
    }
    if end != values.len() {
        return None;
    }
    let mut text = Vec::new();
    let mut seen = [0_usize; MAX_SHAPES];
    for letter in letters {
        let at = usize::from(letter.checked_sub(FIRST_LETTER)?);
        let (&shape, &(start, nr_lines)) = (shapes.get(at)?, starts.get(at)?);
        let nth = seen[at];
        seen[at] += 1;
        let mut slot = 0;
        for piece in shape.split_inclusive(|byte| *byte == SLOT) {
            match piece.strip_suffix(&[SLOT]) {
                Some(before) => {
                    text.extend_from_slice(before);
                    text.extend_from_slice(values.get(start + slot * nr_lines + nth)?);
                    slot += 1;
                }
                None => text.extend_from_slice(piece),
            }
        }
        text.push(b'\n');
        if text.len() > most {
            return None;
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_one_shape_become_columns() {
        let text = b"{\"a\":1,\"b\":[2,3],\"c\":null}\n{\"z\":\"x\\\"y\"}\n{\"a\":-4,\"b\":[5,6],\"c\":\"d\"}\n";
        let wanted = "C\n{\"a\":\x01,\"b\":[\x01,\x01],\"c\":\x01}\n{\"z\":\x01}\nABA\n1\n-4\n2\n5\n3\n6\nnull\n\"d\"\n\"x\\\"y\"\n";
        let found = columns(text).expect("it ends with a line end");
        assert_eq!(str::from_utf8(&found), Ok(wanted));
        assert_eq!(rows(&found, 1000).as_deref(), Some(&text[..]));
        assert_eq!(rows(&found, 30), None);
    }

    #[test]
    fn what_cannot_be_turned_is_left_as_it_is() {
        let many: Vec<u8> = (0..=MAX_SHAPES).flat_map(|nth| [&b":".repeat(nth)[..], b"\n"].concat()).collect();
        for text in [&b"no end"[..], b"", b"a \x01 slot\n", &many] {
            assert_eq!(columns(text), None);
        }
    }

    #[test]
    fn what_was_not_turned_is_refused() {
        for wrong in [
            &b""[..],
            b"\n",
            b"A",
            b"AA\n\n",
            b"@\n\n",
            b"B\nx\nAB\n",
            b"B\n\x01\nAA\n1\n",
            b"B\n\x01\nA\n1\n2\n",
            b"\xff\n",
        ] {
            assert_eq!(rows(wrong, 1000), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "([{}\\[\\],:\"\\\\a-c0-9 -]{0,12}\n){0,12}") {
            if let Some(found) = columns(text.as_bytes()) {
                prop_assert_eq!(rows(&found, text.len()), Some(text.into_bytes()));
            } else {
                prop_assert!(text.is_empty());
            }
        }

        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(found) = columns(&bytes) {
                prop_assert_eq!(rows(&found, bytes.len()), Some(bytes));
            }
        }

        #[test]
        fn no_columns_are_fatal(text in "[@-D]\n([\u{1}a]{0,3}\n){0,4}[@-D]{0,5}\n([ab]\n){0,9}", bytes in any::<Vec<u8>>()) {
            let _ = rows(text.as_bytes(), 1000);
            let _ = rows(&bytes, 1000);
        }
    }
}
