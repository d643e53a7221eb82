//! What a block device is, what is on it, and why it is left alone: by the words of `lsblk`.

use crate::usb::EVEN_IF_NOT_REMOVABLE;
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// What is asked of each device.
const COLUMNS: &str = "NAME,PATH,MAJ:MIN,TYPE,SIZE,RM,RO,TRAN,VENDOR,MODEL,SERIAL,FSTYPE,LABEL,PARTLABEL,MOUNTPOINTS";

/// A block device, and those that are parts of it or made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name, as `sdb`.
    pub name: String,
    /// Where it is, as `/dev/sdb`.
    pub path: String,
    /// Its number, as `8:16`: what an opened file can be compared with.
    pub number: String,
    /// `disk`, `part`, `loop`, `rom`, `lvm`, `crypt` ...
    pub kind: String,
    /// Its size.
    pub nr_bytes: u64,
    is_removable: bool,
    is_read_only: bool,
    transport: String,
    model: String,
    serial: String,
    file_system: String,
    label: String,
    /// Where it is mounted; `[SWAP]` for swap.
    mounts: Vec<String>,
    children: Vec<Device>,
}

/// Why a device is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no block device.
    NotABlockDevice {
        /// What `lsblk` said.
        said: String,
    },
    /// It is a part of a device, or something made of devices.
    NotWhole {
        /// What it is.
        kind: String,
    },
    /// It, or a part of it, is mounted.
    Mounted {
        /// What of it.
        name: String,
        /// Where.
        at: String,
    },
    /// Something is made of it.
    InUse {
        /// What.
        name: String,
        /// Of which kind.
        kind: String,
    },
    /// It cannot be written.
    ReadOnly,
    /// The image does not fit.
    TooSmall {
        /// Its size.
        nr_bytes: u64,
    },
    /// It looks like an internal disk.
    NotRemovable,
    /// A memory card, or memory that is soldered to the board: nothing tells them apart.
    MayBeBuiltIn,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABlockDevice { said } => write!(f, "this is no block device ({})", said.trim()),
            Self::NotWhole { kind } => write!(f, "this is a {kind}, not a whole device"),
            Self::Mounted { name, at } if at == "/" => write!(f, "{name} holds the system that is running"),
            Self::Mounted { name, at } if at == "[SWAP]" => write!(f, "{name} is used as swap"),
            Self::Mounted { name, at } => write!(f, "{name} is mounted at {at}; unmount it first"),
            Self::InUse { name, kind } => write!(f, "it is in use by {name} ({kind})"),
            Self::ReadOnly => f.write_str("it is write-protected"),
            Self::TooSmall { nr_bytes } => write!(f, "it has only {nr_bytes} bytes"),
            Self::MayBeBuiltIn => write!(
                f,
                "it may be a card or built in (MMC), which cannot be told apart; if it is meant, add the word \
                 {EVEN_IF_NOT_REMOVABLE}"
            ),
            Self::NotRemovable => write!(
                f,
                "it is neither removable nor on USB; if it is meant all the same, add the word {EVEN_IF_NOT_REMOVABLE}"
            ),
        }
    }
}

impl Device {
    /// Asks `lsblk` about the device at `path`, which may be a link to it.
    pub fn find(path: &Path) -> Result<Self, Refusal> {
        let not_one = |said: String| Refusal::NotABlockDevice { said };
        let path = path.canonicalize().map_err(|error| not_one(error.to_string()))?;
        let output = Command::new("lsblk").args(["--json", "--bytes", "--output", COLUMNS]).arg(&path).output();
        let output = output.map_err(|error| not_one(format!("lsblk: {error}; package util-linux")))?;
        if !output.status.success() {
            // Of a loop device without a file it says nothing at all.
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(not_one(if said.is_empty() { "lsblk says nothing of it".into() } else { said }));
        }
        Self::from_json(&output.stdout).ok_or_else(|| not_one("lsblk says nothing of it".into()))
    }

    /// The first device in what `lsblk` printed.
    fn from_json(text: &[u8]) -> Option<Self> {
        let parsed: Value = serde_json::from_slice(text).ok()?;
        parsed["blockdevices"].as_array()?.first().map(Self::from_value)
    }

    fn from_value(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().trim().to_string();
        // Truths and numbers are texts in older versions.
        let is_set = |key: &str| value[key].as_bool().unwrap_or(matches!(value[key].as_str(), Some("1" | "true")));
        let list = |key: &str| value[key].as_array().cloned().unwrap_or_default();
        Self {
            name: text("name"),
            path: text("path"),
            number: text("maj:min"),
            kind: text("type"),
            nr_bytes: value["size"].as_u64().or_else(|| text("size").parse().ok()).unwrap_or(0),
            // Not HOTPLUG, which is set for memory soldered to the board, too.
            is_removable: is_set("rm"),
            is_read_only: is_set("ro"),
            transport: text("tran"),
            model: [text("vendor"), text("model")].join(" ").trim().to_string(),
            serial: text("serial"),
            file_system: text("fstype"),
            label: [text("label"), text("partlabel")].into_iter().find(|label| !label.is_empty()).unwrap_or_default(),
            mounts: list("mountpoints").iter().filter_map(Value::as_str).map(str::to_string).collect(),
            children: list("children").iter().map(Self::from_value).collect(),
        }
    }

    /// Why an image of this size is not written to it; nothing if it may be.
    pub fn refusals(&self, image_bytes: u64, lets_internal: bool) -> Vec<Refusal> {
        let mut found = Vec::new();
        if !matches!(self.kind.as_str(), "disk" | "loop") {
            found.push(Refusal::NotWhole { kind: self.kind.clone() });
        }
        self.uses(&mut found);
        if self.is_read_only {
            found.push(Refusal::ReadOnly);
        }
        if self.nr_bytes < image_bytes {
            found.push(Refusal::TooSmall { nr_bytes: self.nr_bytes });
        }
        let is_mmc = self.transport == "mmc" || self.name.starts_with("mmcblk");
        match self.transport.as_str() {
            "usb" => {}
            _ if lets_internal => {}
            _ if is_mmc => found.push(Refusal::MayBeBuiltIn),
            _ if self.is_removable => {}
            _ => found.push(Refusal::NotRemovable),
        }
        found
    }

    /// What it and what is made of it are used for.
    fn uses(&self, found: &mut Vec<Refusal>) {
        found.extend(self.mounts.iter().map(|at| Refusal::Mounted { name: self.name.clone(), at: at.clone() }));
        for child in &self.children {
            if child.kind != "part" {
                found.push(Refusal::InUse { name: child.name.clone(), kind: child.kind.clone() });
            }
            child.uses(found);
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: &str, otherwise: &str| if text.is_empty() { otherwise.into() } else { text.to_string() };
        let removable = if self.is_removable { "removable" } else { "not removable" };
        writeln!(f, "{}: {}", self.path, or(&self.model, "of no known model"))?;
        writeln!(
            f,
            "  serial number {}, {}, {removable}",
            or(&self.serial, "unknown"),
            or(&self.transport, "internal")
        )?;
        writeln!(f, "  {} MiB ({} bytes)", self.nr_bytes >> 20, self.nr_bytes)?;
        if self.children.is_empty() {
            return writeln!(f, "  no partitions; {}", or(&self.file_system, "no file system that is known"));
        }
        self.children.iter().try_for_each(|child| {
            let system = or(&child.file_system, "no known file system");
            writeln!(f, "  {:<8} {:>8} MiB  {system}  \"{}\"", child.name, child.nr_bytes >> 20, child.label)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `lsblk` says of a stick with one partition, in the fields that differ from test to test.
    fn stick(device: &str, part: &str) -> Device {
        let text = format!(
            r#"{{"blockdevices":[{{"name":"sdb","path":"/dev/sdb","type":"disk","size":30765219840,"rm":true,"ro":false,
            "maj:min":"8:16","tran":"usb","vendor":"SanDisk ","model":"Ultra","serial":"4C53","fstype":null,"label":null,
            "mountpoints":[null]{device},"children":[{{"name":"sdb1","path":"/dev/sdb1","type":"part","size":30764171264,
            "rm":true,"ro":false,"maj:min":"8:17","tran":null,"fstype":"vfat","label":"PHOTOS","mountpoints":[null]{part}}}]}}]}}"#
        );
        Device::from_json(text.as_bytes()).expect("sound JSON")
    }

    #[test]
    fn a_stick_is_shown_with_all_that_is_on_it_and_may_be_written() {
        let device = stick("", "");
        assert_eq!(device.refusals(10 << 20, false), []);
        let shown = device.to_string();
        for part in ["/dev/sdb: SanDisk Ultra", "4C53", "usb, removable", "29340 MiB", "sdb1", "vfat", "\"PHOTOS\""] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn what_is_mounted_or_in_use_is_refused_whatever_is_said() {
        // A later field of the same name counts.
        let mounted = stick("", r#","mountpoints":["/media/photos"]"#).refusals(1, true);
        assert_eq!(mounted, [Refusal::Mounted { name: "sdb1".into(), at: "/media/photos".into() }]);
        let system = stick("", r#","mountpoints":["/"]"#).refusals(1, true);
        assert!(system[0].to_string().contains("system that is running"));
        let swap = stick(r#","mountpoints":["[SWAP]"]"#, "").refusals(1, true);
        assert_eq!(swap, [Refusal::Mounted { name: "sdb".into(), at: "[SWAP]".into() }]);
        let volume = r#","children":[{"name":"vg-home","type":"lvm","mountpoints":["/home"]}]"#;
        let volume = stick("", volume).refusals(1, true);
        assert_eq!(volume.len(), 2, "in use, and mounted: {volume:?}");
        assert!(volume.contains(&Refusal::InUse { name: "vg-home".into(), kind: "lvm".into() }));
    }

    #[test]
    fn an_internal_disk_needs_the_word() {
        let internal = stick(r#","rm":false,"hotplug":true,"tran":"nvme""#, "");
        assert_eq!(internal.refusals(1, false), [Refusal::NotRemovable]);
        assert_eq!(internal.refusals(1, true), []);
        assert_eq!(stick(r#","rm":false"#, "").refusals(1, false), [], "a disk on USB");
        assert_eq!(stick(r#","tran":null"#, "").refusals(1, false), [], "removable, on a bus without a name");
    }

    #[test]
    fn memory_that_may_be_soldered_in_needs_the_word_even_if_it_says_that_it_is_removable() {
        for fields in [
            r#","name":"mmcblk0","rm":false,"hotplug":true,"tran":"mmc""#,
            r#","name":"mmcblk0","rm":true,"tran":null"#,
            r#","rm":true,"tran":"mmc""#,
        ] {
            assert_eq!(stick(fields, "").refusals(1, false), [Refusal::MayBeBuiltIn], "{fields}");
            assert_eq!(stick(fields, "").refusals(1, true), [], "{fields}");
        }
    }

    #[test]
    fn another_stick_or_the_same_one_changed_is_not_equal() {
        let shown = stick("", "");
        assert_eq!(shown.number, "8:16");
        assert_eq!(shown, stick("", ""));
        for (device, part) in [
            (r#","serial":"4C54""#, ""),
            (r#","size":30765219328"#, ""),
            (r#","maj:min":"8:32""#, ""),
            ("", r#","label":"THESIS""#),
            ("", r#","mountpoints":["/media/photos"]"#),
        ] {
            assert_ne!(shown, stick(device, part), "{device}{part}");
        }
    }

    #[test]
    fn a_partition_a_small_or_a_protected_device_is_refused() {
        assert_eq!(stick(r#","type":"part""#, "").refusals(1, true), [Refusal::NotWhole { kind: "part".into() }]);
        assert_eq!(stick(r#","ro":"1""#, "").refusals(1, true), [Refusal::ReadOnly]);
        assert_eq!(stick(r#","size":"4096""#, "").refusals(4097, true), [Refusal::TooSmall { nr_bytes: 4096 }]);
    }

    #[test]
    fn what_is_no_block_device_is_refused() {
        for path in ["/dev/null", "/", "/no/such/device"] {
            assert!(matches!(Device::find(Path::new(path)), Err(Refusal::NotABlockDevice { .. })), "{path}");
        }
        assert_eq!(Device::from_json(b"{}"), None);
        assert_eq!(Device::from_json(b"nonsense"), None);
    }
}
