//! The whole way to a stick, by the command: what is refused, what is asked, and what is then on the device.
//!
//! The device is a loop device; where none can be had (that takes root) the test says so and ends.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::scratch::Scratch;
use tests::usb::EVEN_IF_NOT_REMOVABLE;

const NR_BYTES: usize = 3_000_000;

/// A loop device, taken away again at the end.
struct Loop(PathBuf);

impl Loop {
    fn new(backing: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(backing).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| Self(path.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// Runs the command with an answer; returns whether it succeeded, and what it said.
fn usb(image: &Path, device: &Path, word: Option<&str>, answer: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bandolier-run"));
    command.arg("usb").arg(device).arg(image).args(word);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command runs");
    // A command that refuses may have ended before it is answered.
    let _ = child.stdin.take().expect("a pipe").write_all(answer.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

/// As [`usb`], but does something between the question and the answer.
fn usb_with(image: &Path, device: &Path, answer: &str, meanwhile: impl FnOnce()) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bandolier-run"));
    command.arg("usb").arg(device).arg(image).arg(EVEN_IF_NOT_REMOVABLE);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command runs");
    let mut output = child.stdout.take().expect("a pipe");
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !said.ends_with(b"to leave it: ") && output.read(&mut byte).expect("a pipe") == 1 {
        said.push(byte[0]);
    }
    meanwhile();
    child.stdin.take().expect("a pipe").write_all(answer.as_bytes()).expect("it waits for the answer");
    output.read_to_end(&mut said).expect("a pipe");
    (child.wait().expect("it ends").success(), String::from_utf8_lossy(&said).into_owned())
}

/// A stick of 4 MiB with nothing but this byte on it, unless no loop device can be had, which is said.
fn stick(scratch: &Scratch, name: &str, byte: u8) -> Option<(PathBuf, Loop, String)> {
    let backing = scratch.file(name);
    std::fs::write(&backing, vec![byte; 4 << 20]).expect("a file");
    let Some(device) = Loop::new(&backing) else {
        eprintln!("skipped: no loop device can be had here");
        return None;
    };
    let name = device.0.file_name().and_then(|name| name.to_str()).expect("a name").to_string();
    Some((backing, device, name))
}

fn is_all(path: &Path, byte: u8) -> bool {
    std::fs::read(path).expect("a file").iter().all(|&found| found == byte)
}

fn image_in(scratch: &Scratch) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..NR_BYTES).map(|index| (index * 7 % 253) as u8).collect();
    let path = scratch.file("image.iso");
    std::fs::write(&path, &bytes).expect("a file");
    (path, bytes)
}

#[test]
fn what_is_no_device_is_refused() {
    let scratch = Scratch::new().expect("a folder");
    let (image, _) = image_in(&scratch);
    let file = scratch.file("precious");
    std::fs::write(&file, "precious").expect("a file");
    for path in [Path::new("/dev/null"), &file] {
        let (is_fine, said) = usb(&image, path, Some(EVEN_IF_NOT_REMOVABLE), "\n");
        assert!(!is_fine && said.contains("no block device") && said.contains("Nothing was written"), "{said}");
    }
    assert_eq!(std::fs::read(&file).expect("still there"), b"precious");
}

#[test]
fn a_device_is_written_only_after_its_name_was_typed() {
    let scratch = Scratch::new().expect("a folder");
    let (image, bytes) = image_in(&scratch);
    let Some((backing, device, name)) = stick(&scratch, "stick", 0xee) else { return };
    let before = vec![0xee; 4 << 20];
    let word = Some(EVEN_IF_NOT_REMOVABLE);

    let (is_fine, said) = usb(&image, &device.0, None, &name);
    assert!(!is_fine && said.contains(EVEN_IF_NOT_REMOVABLE) && said.contains("Nothing was written"), "{said}");
    for answer in ["", "yes\n", "loop\n"] {
        let (is_fine, said) = usb(&image, &device.0, word, answer);
        assert!(!is_fine && said.contains("WILL BE LOST") && said.contains("Nothing was written"), "{said}");
    }
    let (is_fine, said) = usb(&image, &device.0, Some("please"), &name);
    assert!(!is_fine && said.contains("expected"), "{said}");
    assert!(std::fs::read(&backing).expect("a file") == before, "untouched until now");

    let (is_fine, said) = usb(&image, &device.0, word, &format!("{name}\n"));
    assert!(is_fine && said.contains("from the device itself") && said.contains("100 % read back"), "{said}");
    let found = std::fs::read(&backing).expect("a file");
    assert!(found[..NR_BYTES] == bytes[..] && found[NR_BYTES..] == before[NR_BYTES..]);

    std::fs::write(scratch.file("large.iso"), vec![1; 5 << 20]).expect("a file");
    let (is_fine, said) = usb(&scratch.file("large.iso"), &device.0, word, &name);
    assert!(!is_fine && said.contains("it has only 4194304 bytes"), "{said}");
}

#[test]
fn a_stick_that_takes_the_place_of_the_one_shown_is_not_written() {
    let scratch = Scratch::new().expect("a folder");
    let (image, _) = image_in(&scratch);
    let Some((shown, device, name)) = stick(&scratch, "shown", 0x11) else { return };
    let other = scratch.file("other");
    std::fs::write(&other, vec![0x22; 4 << 20]).expect("a file");
    let (_, said) = usb_with(&image, &device.0, &format!("{name}\n"), || {
        let losetup = |words: &[&Path]| Command::new("losetup").args(words).output().expect("it was there before");
        losetup(&[Path::new("--detach"), &device.0]);
        // Taken, as the one shown is still held; were it not, this would be another device of the same name.
        losetup(&[&device.0, &other]);
    });
    assert!(is_all(&other, 0x22), "{said}");
    assert!(said.contains("Nothing was written") || !is_all(&shown, 0x11), "{said}");
}

#[test]
fn nothing_is_written_if_the_device_is_not_what_was_shown() {
    let scratch = Scratch::new().expect("a folder");
    let (image, _) = image_in(&scratch);
    let Some((first, shown, name)) = stick(&scratch, "first", 0x11) else { return };
    let Some((second, other, _)) = stick(&scratch, "second", 0x22) else { return };
    // A name that stands for the other one meanwhile, as those in /dev/disk/by-path may.
    let link = scratch.file("link");
    std::os::unix::fs::symlink(&shown.0, &link).expect("a link");
    let (is_fine, said) = usb_with(&image, &link, &format!("{name}\n"), || {
        std::fs::remove_file(&link).expect("ours");
        std::os::unix::fs::symlink(&other.0, &link).expect("a link");
    });
    assert!(!is_fine && said.contains("not what was shown") && said.contains("Nothing was written"), "{said}");
    assert!(is_all(&first, 0x11) && is_all(&second, 0x22), "{said}");
    // The same device, but of another size: another card in the same reader.
    let (is_fine, said) = usb_with(&image, &shown.0, &format!("{name}\n"), || {
        std::fs::OpenOptions::new().write(true).open(&first).and_then(|file| file.set_len(5 << 20)).expect("ours");
        assert!(Command::new("losetup").arg("--set-capacity").arg(&shown.0).status().is_ok_and(|s| s.success()));
    });
    assert!(!is_fine && said.contains("not what was shown"), "{said}");
    assert!(is_all(&second, 0x22) && std::fs::read(&first).expect("a file")[..4 << 20] == vec![0x11; 4 << 20][..]);
}
