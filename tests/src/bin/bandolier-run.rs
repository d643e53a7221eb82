//! `bandolier-run COMMAND [name=value...]`: boots the kernel as the recipes of the Justfile ask for it.
//!
//! The settings are those of `just`; the exit status is 0 only if the guest reported success.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use tests::menu::{self, Start};
use tests::{End, Error, Settings, figures, gdb, image, interactive, kernel, tlb_figures, usb};

const USAGE: &str = "usage: bandolier-run run|gui|gdb|figures|tlb-figures|iso|image [name=value...]
       bandolier-run usb DEVICE IMAGE [even-if-not-removable]
  run      boot: at a terminal to a prompt; without one run cmd, typed lines or the demonstration, and exit
  gui      boot by Limine in a window: the kernel's own screen and keyboard
  gdb      boot under gdb, stopped at the kernel's entry point
  figures  measure and print boot times and counts
  tlb-figures  measure and print what shootdowns cost, beside the most that they may
  iso      write target/bandolier.iso, which boots by Limine under BIOS and UEFI and runs cmd at once
  image    write target/bandolier-stick.iso, which does so with a menu, for CD and USB stick
  usb      write the image to a stick, after showing what is on it and asking
settings: cpus mem cpu boot drive image accel cmd append modules screen qemu timeout folder kernel loader";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, settings)) = words.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let performed = if command == "usb" { write_stick(settings) } else { perform(command, settings) };
    match performed {
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
        "tlb-figures" => tlb_figures::print(&settings).map(|fine| u8::from(!fine)),
        "iso" => write_image("bandolier.iso", |out| image::build(&settings, out)).map(|()| 0),
        "image" => {
            // Something to replay is always with it.
            let mut settings = settings;
            if settings.modules.is_empty() {
                settings.modules = Settings::parse([&*format!("modules={}", kernel::DEMONSTRATION_MODULE)])?.modules;
            }
            write_image("bandolier-stick.iso", |out| menu::build(&settings, Start::default(), out)).map(|()| 0)
        }
        _ => Err(Error::Setting { name: "command".into(), value: command.into(), expected: USAGE.into() }),
    }
}

fn write_stick(words: &[String]) -> Result<u8, Error> {
    let (device, image, word) = match words {
        [device, image] => (device, image, None),
        [device, image, word] => (device, image, Some(word.as_str())),
        _ => return Err(Error::setting("usb", &words.join(" "), "a device and an image")),
    };
    let end = usb::run(Path::new(image), Path::new(device), word, &mut io::stdin().lock())?;
    Ok(u8::from(end != usb::End::Written))
}

fn conclude(end: End) -> u8 {
    interactive::say(&format!("bandolier-run: {end}"));
    end.exit_code()
}

fn write_image(name: &str, build: impl FnOnce(&Path) -> Result<Option<String>, Error>) -> Result<(), Error> {
    let out = tests::scratch::target_dir().join(name);
    if let Some(remark) = build(&out)? {
        println!("{remark}");
    }
    println!("{}", out.display());
    Ok(())
}
