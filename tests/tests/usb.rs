//! The whole way to a stick, by the command: what is refused, what is asked, and what is then on the device.
//!
//! The device is a loop device; where none can be had (that takes root) the test says so and ends.

use std::io::Write;
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
    let backing = scratch.file("stick");
    let before = vec![0xee; 4 << 20];
    std::fs::write(&backing, &before).expect("a file");
    let Some(device) = Loop::new(&backing) else {
        eprintln!("skipped: no loop device can be had here");
        return;
    };
    let name = device.0.file_name().and_then(|name| name.to_str()).expect("a name").to_string();
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
    assert!(is_fine && said.contains("written and read back") && said.contains("100 % read back"), "{said}");
    let found = std::fs::read(&backing).expect("a file");
    assert!(found[..NR_BYTES] == bytes[..] && found[NR_BYTES..] == before[NR_BYTES..]);

    std::fs::write(scratch.file("large.iso"), vec![1; 5 << 20]).expect("a file");
    let (is_fine, said) = usb(&scratch.file("large.iso"), &device.0, word, &name);
    assert!(!is_fine && said.contains("it has only 4194304 bytes"), "{said}");
}
