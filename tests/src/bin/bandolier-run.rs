//! `bandolier-run COMMAND [name=value...]`: boots the kernel as the recipes of the Justfile ask for it.
//!
//! The settings are those of `just`; the exit status is 0 only if the guest reported success.

use std::path::PathBuf;
use std::process::ExitCode;
use tests::{End, Error, Settings, figures, gdb, image, interactive};

const USAGE: &str = "usage: bandolier-run run|gui|gdb|figures|iso [name=value...]
  run      boot: at a terminal to a prompt; without one run cmd, typed lines or the demonstration, and exit
  gui      boot by Limine in a window: the kernel's own screen and keyboard
  gdb      boot under gdb, stopped at the kernel's entry point
  figures  measure and print boot times and counts
  iso      write target/bandolier.iso, which boots by Limine under BIOS and UEFI
settings: cpus mem cpu boot accel cmd append modules screen qemu timeout kernel loader";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, settings)) = words.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    match perform(command, settings) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(64)
        }
    }
}

fn perform(command: &str, words: &[String]) -> Result<u8, Error> {
    let settings = Settings::parse(words.iter().map(String::as_str))?;
    match command {
        "run" => interactive::run(settings).map(conclude),
        "gui" => interactive::in_window(settings).map(conclude),
        "gdb" => gdb::run(&settings).map(conclude),
        "figures" => figures::print(&settings).map(|fine| u8::from(!fine)),
        "iso" => write_image(&settings).map(|()| 0),
        _ => Err(Error::Setting { name: "command".into(), value: command.into(), expected: USAGE.into() }),
    }
}

fn conclude(end: End) -> u8 {
    interactive::say(&format!("bandolier-run: {end}"));
    end.exit_code()
}

fn write_image(settings: &Settings) -> Result<(), Error> {
    let out: PathBuf = tests::scratch::target_dir().join("bandolier.iso");
    if let Some(remark) = image::build(settings, &out)? {
        println!("{remark}");
    }
    println!("{}", out.display());
    Ok(())
}
