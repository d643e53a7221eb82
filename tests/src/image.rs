//! Makes a hybrid image with Limine: boots as a CD and from a USB stick, under BIOS and under UEFI.
//!
//! Limine's binaries come from `LIMINE_DIR` (default `.limine` in the workspace, filled by `just limine`); nothing is
//! fetched here. `limine.cfg` is a template: the words `@CMDLINE@` and `@MODULES@` are replaced, and the result goes
//! into the image as `limine.conf`. Of its one entry the image for a stick has several: see [`crate::menu`].

use crate::archive::file_name;
use crate::error::{self, Error};
use crate::scratch::{self, Scratch};
use crate::settings::Settings;
use crate::strip;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The configuration with one entry, and words to be replaced.
pub(crate) const TEMPLATE: &str = include_str!("../../limine.cfg");
const LIMINE_FILES: [&str; 4] = ["limine-bios.sys", "limine-bios-cd.bin", "limine-uefi-cd.bin", "BOOTX64.EFI"];

/// The folder with Limine's binary release: `LIMINE_DIR`, or `.limine`.
pub fn limine_dir() -> Result<PathBuf, Error> {
    let dir = match std::env::var_os("LIMINE_DIR") {
        Some(dir) if !dir.is_empty() => scratch::workspace().join(dir),
        _ => scratch::workspace().join(".limine"),
    };
    match LIMINE_FILES.iter().find(|name| !dir.join(name).is_file()) {
        None => Ok(dir),
        Some(name) => Err(Error::missing(
            format!("Limine ({name} in {})", dir.display()),
            "run `just limine` where the network allows, or set LIMINE_DIR to a binary release of Limine",
        )),
    }
}

/// Builds the image of a boot at `out`: no menu, no wait. Returns a remark where the image lacks something.
pub fn build(settings: &Settings, out: &Path) -> Result<Option<String>, Error> {
    build_with(settings, out, |modules| configuration(&settings.command_line(), modules, &settings.screen))
}

/// Builds an image at `out` whose configuration is what `configure` makes of the names of its modules.
pub fn build_with(
    settings: &Settings,
    out: &Path,
    configure: impl FnOnce(&[String]) -> Result<String, Error>,
) -> Result<Option<String>, Error> {
    let limine = limine_dir()?;
    let stage = Scratch::new()?;
    let boot = error::create_dir(stage.path().join("boot"))?;
    let efi = error::create_dir(stage.path().join("EFI/BOOT"))?;
    for name in ["limine-bios.sys", "limine-bios-cd.bin", "limine-uefi-cd.bin"] {
        error::copy(&limine.join(name), &boot.join(name))?;
    }
    for name in ["BOOTX64.EFI", "BOOTIA32.EFI"] {
        let file = limine.join(name);
        if file.is_file() {
            error::copy(&file, &efi.join(name))?;
        }
    }
    error::write(&boot.join("bandolier"), &strip::kernel(&settings.kernel)?)?;
    let modules: Vec<String> = settings.modules.iter().map(|m| file_name(m)).collect();
    for (path, name) in settings.modules.iter().zip(&modules) {
        error::copy(path, &boot.join(name))?;
    }
    error::write(&boot.join("limine.conf"), configure(&modules)?.as_bytes())?;

    run(Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-R", "-J", "-joliet-long"])
        .args(["-b", "boot/limine-bios-cd.bin", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"])
        .args(["--efi-boot", "boot/limine-uefi-cd.bin", "-efi-boot-part", "--efi-boot-image"])
        .arg("--protective-msdos-label")
        .arg("-o")
        .arg(out)
        .arg(stage.path()))?;
    match host_tool(&limine, &stage) {
        Ok(tool) => run(Command::new(tool).arg("bios-install").arg("--quiet").arg(out)).map(|()| None),
        Err(why) => Ok(Some(format!("no boot from a USB stick under BIOS: {why}"))),
    }
}

/// The configuration with its placeholders filled in.
fn configuration(cmdline: &str, modules: &[String], screen: &str) -> Result<String, Error> {
    filled(TEMPLATE, cmdline, modules, screen)
}

/// The template, or a part of it, with its placeholders filled in. Every entry asks for that screen, if one is named.
pub(crate) fn filled(template: &str, cmdline: &str, modules: &[String], screen: &str) -> Result<String, Error> {
    if cmdline.contains("${") {
        return Err(Error::setting("cmd", cmdline, "no ${...}, which Limine would replace"));
    }
    let modules: String = modules.iter().map(|name| format!("    module_path: boot():/boot/{name}\n")).collect();
    let lines = template.lines().filter_map(|line| match line.trim() {
        "@MODULES@" => Some(modules.clone()),
        "cmdline: @CMDLINE@" if cmdline.is_empty() => None,
        "protocol: limine" if !screen.is_empty() => Some(format!("{line}\n    resolution: {screen}x32\n")),
        _ => Some(format!("{}\n", line.replace("@CMDLINE@", cmdline))),
    });
    Ok(lines.collect())
}

/// Limine's own tool, which writes the BIOS stage into the image: as released, or built from the released source.
fn host_tool(limine: &Path, stage: &Scratch) -> Result<PathBuf, Error> {
    let ready = limine.join("limine");
    if ready.is_file() {
        return Ok(ready);
    }
    let tool = stage.file("limine-tool");
    run(Command::new("cc").args(["-O1", "-std=c99", "-o"]).arg(&tool).arg(limine.join("limine.c")))?;
    Ok(tool)
}

fn run(command: &mut Command) -> Result<(), Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| Error::missing(format!("{name} ({e})"), "run `just setup`"))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    Err(Error::Tool { command: name, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_carries_command_line_and_modules() {
        let text = configuration("apic=xapic run=mem; quit", &["a.kmt".into(), "b.kmt".into()], "").unwrap();
        let has = |line: &str| text.lines().any(|l| l.trim() == line);
        assert!(has("cmdline: apic=xapic run=mem; quit"), "{text}");
        assert!(has("module_path: boot():/boot/a.kmt") && has("module_path: boot():/boot/b.kmt"), "{text}");
        assert!(has("protocol: limine") && has("timeout: 0") && has("serial: yes"), "{text}");
        assert!(!text.contains('@'), "{text}");
    }

    #[test]
    fn nothing_is_left_of_unused_placeholders() {
        let text = configuration("", &[], "").unwrap();
        assert!(!text.contains("resolution"), "{text}");
        assert!(!text.contains("cmdline:") && !text.contains("module_path:") && !text.contains('@'), "{text}");
    }

    #[test]
    fn a_screen_is_asked_for_by_the_entry_that_boots() {
        let text = configuration("", &[], "1920x1080").unwrap();
        let entry: Vec<&str> = text.lines().skip_while(|line| !line.starts_with('/')).map(str::trim).collect();
        assert!(entry.contains(&"resolution: 1920x1080x32"), "{text}");
    }

    #[test]
    fn what_limine_would_expand_is_refused() {
        assert!(configuration("run=${X}", &[], "").is_err());
    }
}
