//! `qr-decode [--out FOLDER] FILES...`: recordings out of photographs of QR codes, or out of texts with their contents.
//!
//! `-` is the standard input. The exit status is 0 if every run of which anything was seen is whole and written, 1 if
//! not, 2 for a wrong call or a file that is not there.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: qr-decode [--out FOLDER] FILES...
  FILES  photographs and screenshots (PNG, JPEG, PPM), and texts with scanned codes in any order; - is standard input
  FOLDER where <run>.jsonl is written (default: target/bench)";

fn main() -> ExitCode {
    let mut folder = PathBuf::from("target/bench");
    let mut names = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out" => match words.next() {
                Some(word) => folder = word.into(),
                None => return refuse(USAGE),
            },
            "-h" | "--help" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            option if option.starts_with("--") => return refuse(USAGE),
            _ => names.push(word),
        }
    }
    if names.is_empty() {
        return refuse(USAGE);
    }
    let mut files = Vec::new();
    for name in names {
        match read(&name) {
            Ok(bytes) => files.push((name, bytes)),
            Err(error) => return refuse(&format!("error: {name}: {error}")),
        }
    }
    match qr::decode::decode(&files, &folder) {
        Ok(outcome) => {
            print!("{}", outcome.report);
            if outcome.is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => refuse(&format!("error: {}: {error}", folder.display())),
    }
}

fn read(name: &str) -> std::io::Result<Vec<u8>> {
    if name != "-" {
        return std::fs::read(name);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}
