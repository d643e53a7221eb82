//! Boots at many sizes: every CPU comes up, in x2APIC and in xAPIC mode, and all memory is accounted for.

use crate::support::{Failure, Passed, Run, Settings, Test, script, xapic};
use tests::qemu::{Console, Launch};
use tests::{End, host, kernel};

/// CPUs, memory, x2APIC. Each number of CPUs in both modes, each amount of memory with few and with many CPUs.
const SIZES: [(u32, &str, bool); 14] = [
    (1, "64M", true),
    (1, "8G", false),
    (2, "64M", false),
    (2, "1G", true),
    (3, "100M", true),
    (3, "2G", false),
    (8, "64M", true),
    (8, "64M", false),
    (8, "4G", true),
    (8, "8G", false),
    (64, "256M", true),
    (64, "1G", false),
    (64, "8G", true),
    (255, "1G", true),
];

/// What the README says is enough for 8 CPUs by the direct way in. The kernel's file and its image are 7 MiB of it.
const LEAST_MEMORY: &str = "12M";

/// Not enough for the kernel's image.
const TOO_LITTLE_MEMORY: &str = "6M";

/// Other CPUs than `max`: without large pages of 1 GiB, without SMEP and SMAP, without UMIP.
const MODELS: [&str; 4] = ["qemu64", "max,-pdpe1gb", "max,-smep,-smap,-umip", "max,-la57"];

/// CPUs that cannot run it, and the words that say why.
const REFUSED: [(&str, &str); 2] = [("qemu32", "no 64-bit mode"), ("max,-nx", "NX")];

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let size = |(cpus, mem, x2apic): (u32, &'static str, bool)| {
        let mode = if x2apic { "x2apic" } else { "xapic" };
        Test::new(format!("boot::{cpus}-cpus-{mem}-{mode}"), move || {
            let settings = Settings { mem: mem.into(), ..script(cpus, "cpus; mem; quit") };
            let run = Run::of(if x2apic { settings } else { xapic(settings) })?;
            let emulated = host::Qemu::find()?.version >= host::FIRST_WITH_X2APIC;
            all_up(&run, cpus)?;
            run.says(kernel::apic_mode(x2apic && emulated))?;
            run.adds_up(1)?.passes()
        })
    };
    let model = |cpu: &'static str| {
        Test::new(format!("boot::model-{cpu}"), move || {
            let run = Run::of(Settings { cpu: cpu.into(), ..script(2, "cpus; mem; quit") })?;
            all_up(&run, 2)?.adds_up(1)?.passes()
        })
    };
    let refused = |(cpu, reason): (&'static str, &'static str)| {
        Test::new(format!("boot::refused-{cpu}"), move || {
            let run = Run::of(Settings { cpu: cpu.into(), ..script(1, "mem; quit") })?;
            run.says(reason)?.adds_up(0)?.ends_badly()?.passes()
        })
    };
    let little = [
        Test::new("boot::8-cpus-in-the-least-memory", || {
            let settings = Settings { mem: LEAST_MEMORY.into(), ..script(8, "cpus; mem; stress 4000; mem; quit") };
            let run = Run::of(settings)?;
            all_up(&run, 8)?.judges("stress", &[true])?.adds_up(2)?.passes()
        }),
        Test::new("boot::refused-with-too-little-memory", || {
            let run = Run::of(Settings { mem: TOO_LITTLE_MEMORY.into(), ..script(8, "mem; quit") })?;
            run.ends(End::BadBoot)?.says("loader: out of memory: no 0x")?.passes()
        }),
        Test::new("boot::memory-that-the-archive-does-not-fit-into-is-refused", || {
            let settings = Settings { mem: "4M".into(), ..script(1, "mem; quit") };
            let said = Launch::prepare(&settings, Console::Pipe).err().map(|error| error.to_string());
            match &said {
                Some(said) if said.starts_with("mem=4M: expected ") && said.contains(" KiB at least") => {
                    Ok(Passed::Yes)
                }
                _ => Err(Failure::new("a refusal with words".into(), format!("{said:?}"), settings.as_just())),
            }
        }),
    ];
    let unknown = Test::new("boot::an-unknown-option-is-named", || {
        let run = Run::of(Settings { append: "colour=red".into(), ..script(1, "mem; quit") })?;
        run.says("`colour=red`")?.ends(End::CommandFailed)?.passes()
    });
    SIZES
        .into_iter()
        .map(size)
        .chain(MODELS.into_iter().map(model))
        .chain(REFUSED.into_iter().map(refused))
        .chain(little)
        .chain([unknown])
        .collect()
}

/// The boot ended well and every CPU answered.
pub(crate) fn all_up(run: &Run, cpus: u32) -> Result<&Run, Failure> {
    run.says(kernel::ENTRY)?.ends(End::Success)?;
    let up = kernel::cpus_up(run.serial());
    run.check(up == Some(cpus), || format!("{cpus} CPUs up, found {up:?}"))
}
