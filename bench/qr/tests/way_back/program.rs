//! What the program does with files of all kinds.

use crate::{SCREEN, file, packed_run, screens};
use image::ImageFormat;
use qr::code::Canvas;
use qr::cut::{Cut, Version};
use qr::decode::{Outcome, decode};
use qr::part::Part;
use std::path::PathBuf;

/// A folder of a test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("bandolier-qr-{}-{name}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is not there needs no removal.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn decoded(files: &[(&str, &[u8])], folder: &Folder) -> Outcome {
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
    decode(&files, &folder.0).expect("the folder can be written")
}

fn parts<'a>(cut: &Cut<'a>) -> Vec<Part<'a>> {
    (1..=cut.nr_parts()).map(|number| cut.part(number).expect("a part")).collect()
}

#[test]
fn a_recording_is_written_from_pictures_logs_and_texts_together() {
    let folder = Folder::new("together");
    let (text, packed) = packed_run(80);
    let cut = Cut::new(&packed, Version::MAX).expect("it fits");
    let parts = parts(&cut);
    let picture = file(&screens(&packed, Version::MAX, SCREEN)[0], ImageFormat::Png);
    let mut log = String::from("bandolier> qr\r\n");
    let mut canvas = Canvas::new();
    canvas.draw(&parts[1], cut.version()).expect("it fits").write_blocks(&mut log).expect("a string takes everything");
    let rest: String = parts.iter().skip(1).rev().map(|part| format!("shared: {part} from a telephone\n")).collect();
    let outcome = decoded(&[("a.png", &picture), ("log", log.as_bytes()), ("notes", rest.as_bytes())], &folder);
    assert!(outcome.is_complete, "{}", outcome.report);
    let nr_parts = parts.len();
    assert!(
        outcome.report.contains(&format!("a.png: 1 codes, 1 parts, 1 of them new 1/{nr_parts}\n")),
        "{}",
        outcome.report
    );
    assert!(
        outcome.report.contains(&format!("log: text, 1 parts, 1 of them new 2/{nr_parts}\n")),
        "{}",
        outcome.report
    );
    assert!(outcome.report.contains("80 rows and 0 latencies of a run that passed"), "{}", outcome.report);
    let path = folder.0.join(format!("{:08X}.jsonl", cut.run()));
    assert_eq!(outcome.written, std::slice::from_ref(&path));
    assert_eq!(std::fs::read_to_string(path).expect("it was written"), text);
}

#[test]
fn what_is_missing_is_said_and_nothing_is_written() {
    let folder = Folder::new("missing");
    let (_, packed) = packed_run(80);
    let (_, whole) = packed_run(3);
    let cut = Cut::new(&packed, Version::within_modules(80).expect("a version")).expect("it fits");
    let other = Cut::new(&whole, Version::MAX).expect("it fits");
    let all = parts(&cut);
    assert!(all.len() > 6);
    let seen = all.iter().filter(|part| ![1, 4, 5, 6].contains(&part.id.number));
    let text: String = seen.chain(&parts(&other)).map(|part| format!("{part}\n")).collect();
    let outcome = decoded(&[("-", text.as_bytes())], &folder);
    // The other run is whole; but one of two is not enough.
    assert!(!outcome.is_complete && outcome.written.len() == 1, "{}", outcome.report);
    let said = format!(
        "{:08X}: {} of {} parts: parts 1, 4-6 are missing; `qr --parts` shows a part again\n",
        cut.run(),
        all.len() - 4,
        all.len()
    );
    assert!(outcome.report.contains(&said), "{}", outcome.report);
}

#[test]
fn what_is_no_recording_is_refused_in_words() {
    let folder = Folder::new("refused");
    let no_recording = qr::pack::pack(b"these are no records").expect("it is short");
    let cut = Cut::new(&no_recording, Version::MAX).expect("it fits");
    let text = parts(&cut)[0].to_string();
    let mut damaged = text.clone();
    damaged.pop();
    for (bytes, said) in [
        (text.as_bytes(), "1 of 1 parts: it is no recording: there is no benchmark record in it"),
        (damaged.as_bytes(), "0 of them new, 1 damaged"),
        (b"nothing", "there is no part of a run in any of them"),
        (b"\x89PNG\r\n\x1a\nnothing", "this picture cannot be read"),
        (&[0xff, 0xfe, 0], "there is no part of a run in any of them"),
    ] {
        let outcome = decoded(&[("x", bytes)], &folder);
        assert!(!outcome.is_complete && outcome.written.is_empty(), "{}", outcome.report);
        assert!(outcome.report.contains(said), "{said:?} in {}", outcome.report);
    }
    assert!(!folder.0.exists());
}
