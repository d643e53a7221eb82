//! Settings of which there are a few to choose from, and their names.

/// How the kernel gets into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// `loader/`, by `qemu -kernel`: no image, no firmware wait.
    Direct,
    /// Limine, from an ISO image, under SeaBIOS.
    Iso,
    /// Limine, from the same image, under OVMF.
    Uefi,
}

/// What an image is to the machine that boots from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// A CD.
    Cd,
    /// A USB stick.
    Usb,
    /// A SATA disk.
    Disk,
}

/// Who executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// KVM where it is the real one, emulation otherwise (see [`crate::host::accelerator`]).
    Auto,
    /// Emulation.
    Tcg,
    /// Emulation of all CPUs on one thread, whose clock counts instructions: every run of a machine is the same.
    Icount,
    /// KVM, whatever stands behind `/dev/kvm`.
    Kvm,
}

/// The name of a way in, as in `boot=`.
pub fn boot_name(boot: Boot) -> &'static str {
    match boot {
        Boot::Direct => "direct",
        Boot::Iso => "iso",
        Boot::Uefi => "uefi",
    }
}

/// The name of a drive, as in `drive=`.
pub(super) fn drive_name(drive: Drive) -> &'static str {
    match drive {
        Drive::Cd => "cd",
        Drive::Usb => "usb",
        Drive::Disk => "disk",
    }
}

/// The name of an accelerator, as in `accel=`.
pub(super) fn accel_name(accel: Accel) -> &'static str {
    match accel {
        Accel::Auto => "auto",
        Accel::Tcg => "tcg",
        Accel::Icount => "icount",
        Accel::Kvm => "kvm",
    }
}
