//! The menu of the image for a stick: what one can start without typing.
//!
//! Made from the template `limine.cfg`, whose one entry is repeated with other titles and command lines. Nothing here ends
//! the machine: what a command printed stays on the screen, and the shell's prompt stands below it.

use crate::error::Error;
use crate::image;
use crate::settings::Settings;
use std::path::Path;

/// An entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the menu shows.
    pub title: &'static str,
    /// What it says below when the entry is selected.
    pub comment: &'static str,
    /// What the shell runs; empty for nothing.
    pub script: &'static str,
}

/// The entries, the default first.
pub const ENTRIES: [Entry; 4] = [
    Entry { title: "Shell", comment: "A prompt. `help` lists the commands.", script: "" },
    Entry {
        title: "Full benchmark",
        comment: "All workloads and contenders, then the results as a table and as QR codes.",
        script: "bench; qr",
    },
    Entry {
        title: "Stress, ten minutes",
        comment: "All CPUs at once, every result checked. Ends with PASS or FAIL.",
        script: "stress 10m seed=1; mem",
    },
    Entry {
        title: "Memory test of free frames",
        comment: "Patterns in all memory that is not in use, once. Ends with PASS or FAIL.",
        script: "memtest; mem",
    },
];

/// How the menu begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Seconds until the default entry starts by itself.
    pub timeout_s: u32,
    /// The default entry, counted from 0.
    pub entry: usize,
    /// The menu is on the serial line, and not on the screen: Limine has it in one place.
    pub is_serial: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self { timeout_s: 5, entry: 0, is_serial: false }
    }
}

/// Builds the image at `out`. Every entry's kernel gets the settings' options and modules; their `cmd` has no place here.
/// Returns a remark where the image lacks something.
pub fn build(settings: &Settings, start: Start, out: &Path) -> Result<Option<String>, Error> {
    if !settings.cmd.is_empty() {
        return Err(Error::setting("cmd", &settings.cmd, "nothing: what the image runs is chosen in its menu"));
    }
    image::build_with(settings, out, |modules| configuration(settings, start, modules))
}

fn configuration(settings: &Settings, start: Start, modules: &[String]) -> Result<String, Error> {
    let entry_at = image::TEMPLATE.find("\n/").map_or(image::TEMPLATE.len(), |at| at + 1);
    let (header, entry) = image::TEMPLATE.split_at(entry_at);
    let body = entry.split_once('\n').map_or("", |(_, body)| body);
    let mut text = String::new();
    for line in header.lines() {
        text += &match line.split_once(':') {
            Some(("timeout", _)) => {
                format!("timeout: {}\ndefault_entry: {}\n", start.timeout_s, start.entry + 1)
            }
            Some(("serial" | "serial_baudrate", _)) if !start.is_serial => String::new(),
            _ => format!("{line}\n"),
        };
    }
    text += "interface_branding: Bandolier: kernel memory management, measured\n\n";
    for Entry { title, comment, script } in ENTRIES {
        let run = if script.is_empty() { String::new() } else { format!("run={script}") };
        let cmdline = [&settings.append, &run].map(String::as_str).join(" ");
        text += &format!("/{title}\n    comment: {comment}\n");
        text += &image::filled(body, cmdline.trim(), modules, &settings.screen)?;
        text += "\n";
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(append: &str) -> Settings {
        Settings { append: append.into(), ..Settings::default() }
    }

    #[test]
    fn every_entry_is_the_templates_with_a_script_of_its_own() {
        let start = Start { timeout_s: 7, entry: 2, is_serial: false };
        let text = configuration(&with("debug=guard:100"), start, &["a.kmt".into()]).unwrap();
        let count = |wanted: &str| text.lines().filter(|line| line.trim() == wanted).count();
        assert_eq!((count("timeout: 7"), count("default_entry: 3"), count("serial: yes")), (1, 1, 0), "{text}");
        assert_eq!(count("protocol: limine"), ENTRIES.len(), "{text}");
        assert_eq!(count("module_path: boot():/boot/a.kmt"), ENTRIES.len(), "{text}");
        assert_eq!(count("cmdline: debug=guard:100"), 1, "{text}");
        assert_eq!(count("cmdline: debug=guard:100 run=memtest; mem"), 1, "{text}");
        assert!(!text.contains('@') && text.find("\n/Shell").is_some_and(|at| at > 0), "{text}");
    }

    #[test]
    fn a_shell_without_options_has_no_command_line() {
        let text = configuration(&with(""), Start::default(), &[]).unwrap();
        assert_eq!(text.matches("cmdline:").count(), ENTRIES.len() - 1, "{text}");
    }

    #[test]
    fn the_menu_is_on_the_screen_unless_the_serial_line_is_wanted() {
        let has_serial = |is_serial| {
            let text = configuration(&with(""), Start { is_serial, ..Start::default() }, &[]).unwrap();
            text.lines().any(|line| line == "serial: yes")
        };
        assert!(has_serial(true) && !has_serial(false));
    }

    #[test]
    fn nothing_in_the_menu_ends_the_machine() {
        assert!(ENTRIES.iter().all(|entry| !entry.script.contains("quit") && !entry.script.contains("reboot")));
    }
}
