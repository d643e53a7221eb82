//! `help`, `version`, `quit`, `reboot`.

use arch::reboot;
use kernel::args::{ArgError, Args};

use super::{Command, Status, commands, quit};
use crate::console::println;
use crate::{bootinfo, devices, machine};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[
    Command { name: "help", usage: "[command]", help: "the commands, or more about one", details: "", run: help },
    Command { name: "version", usage: "", help: "what is running here", details: "", run: version },
    Command {
        name: "quit",
        usage: "",
        help: "end QEMU with the worst status of all commands so far",
        details: "QEMU's exit status is 33 if every command succeeded, 35 if one did not.",
        run: run_quit,
    },
    Command { name: "reboot", usage: "", help: "reset the machine", details: "", run: run_reboot },
];

fn help<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let name = args.word();
    args.finish(usage)?;
    let Some(name) = name else {
        for command in commands() {
            println!("  {:<10} {:<45} {}", command.name, command.usage, command.help);
        }
        return Ok(Status::Ok);
    };
    let Some(command) = commands().find(|command| command.name == name) else {
        println!("help: `{name}` is not a command");
        return Ok(Status::Usage);
    };
    println!("{} {}", command.name, command.usage);
    println!("    {}", command.help);
    for line in command.details.lines() {
        println!("    {line}");
    }
    Ok(Status::Ok)
}

fn version<'a>(args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    args.finish(usage)?;
    let info = bootinfo::get();
    println!("Bandolier {}", env!("CARGO_PKG_VERSION"));
    println!("bootloader {} {}", info.bootloader.0.as_str(), info.bootloader.1.as_str());
    if let Some(apic) = machine::apic() {
        println!("local APIC in {} mode", apic.mode());
    }
    println!("modules:{}", if info.modules().next().is_none() { " none" } else { "" });
    for module in info.modules() {
        println!("  {} ({} bytes)", module.name.as_str(), module.bytes.len());
    }
    Ok(Status::Ok)
}

fn run_quit<'a>(args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    args.finish(usage)?;
    quit()
}

fn run_reboot<'a>(args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    args.finish(usage)?;
    reboot::reboot(devices::get().and_then(|devices| devices.reset))
}
