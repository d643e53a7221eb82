//! The allocator's debug modes, chosen on the kernel command line: deliberate misuse is found at once and reported with
//! cache, CPU and the names of both call sites; honest work goes on as ever.

use crate::support::{Run, Settings, Test, script};
use tests::{End, kernel};

/// Misuse, and what the report must say of it: what was done, the cache, the CPU, who found, allocated and freed it.
const FOUND: [(&str, &[&str]); 3] = [
    (
        "redzone",
        &[
            "mm: write past an object",
            "1 bytes from offset 61 on, 0x77 where 0xbb was left",
            "`size class` of 64 bytes, 61 asked for; found by a free on cpu 0",
            "mm:   found on cpu 0, ",
            "mm:   allocated on cpu 0, ",
            "fault::write_past+",
        ],
    ),
    (
        "use-after-free",
        &[
            "mm: write after free",
            "1 bytes from offset 50 on, 0x77 where 0x6b was left",
            "`size class` of 64 bytes, 61 asked for; found by an allocation on cpu 0",
            "mm:   allocated on cpu 0, ",
            "mm:   freed on cpu 0, ",
            "fault::write_after_free+",
        ],
    ),
    (
        "double-free",
        &[
            "mm: bad free",
            "is free already",
            "`size class` of 64 bytes, 64 asked for; found by a free on cpu 0",
            "mm:   found on cpu 0, ",
            "mm:   allocated on cpu 0, ",
            "mm:   freed on cpu 0, ",
            "fault::double_free+",
        ],
    ),
];

/// Accesses that fault, and what the crash report must say of them.
const GUARDED: [(&str, &[&str]); 2] = [
    (
        "guard-overrun",
        &[
            "page fault",
            "touched 1 bytes past the end of an object",
            "`size class` of 64 bytes",
            "mm:   allocated on cpu 0, ",
            "fault::guarded+",
            "fault::read_past_guarded+",
        ],
    ),
    (
        "guard-use-after-free",
        &[
            "page fault",
            "use after free: touched byte 8 of an object",
            "`size class` of 64 bytes",
            "mm:   allocated on cpu 0, ",
            "mm:   freed on cpu 0, ",
            "fault::read_guarded_after_free+",
        ],
    ),
];

fn with(append: &str, cpus: u32, cmd: &str) -> Settings {
    Settings { append: append.into(), ..script(cpus, cmd) }
}

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let goes_on = |(kind, words): (&'static str, &'static [&'static str])| {
        Test::new(format!("debug::{kind}-is-found-and-the-kernel-goes-on"), move || {
            let cmd = format!("fault {kind}; slabs check; stress 5000 seed=1; mem; quit");
            let run = Run::of(with("debug=slab debug=go-on", 2, &cmd))?;
            for word in words {
                run.says(word)?;
            }
            run.says("fault: found, and the kernel goes on")?.says(": 0 wrong")?.judges("stress", &[true])?;
            // What was found fails the script all the same.
            run.adds_up(1)?.ends(End::CommandFailed)?.passes()
        })
    };
    let crashes = |(kind, words): (&'static str, &'static [&'static str])| {
        Test::new(format!("debug::{kind}-ends-the-machine"), move || {
            let run = Run::of(with("debug=slab", 2, &format!("fault {kind}; mem; quit")))?;
            for word in words {
                run.says(word)?;
            }
            run.says("a debug check found")?.adds_up(0)?.says(kernel::END_OF_REPORT)?.ends(End::Crashed)?.passes()
        })
    };
    let guarded = |(kind, words): (&'static str, &'static [&'static str])| {
        Test::new(format!("debug::{kind}-faults-and-is-explained"), move || {
            let run = Run::of(with("debug=guard:3", 2, &format!("fault {kind}; mem; quit")))?;
            for word in words {
                run.says(word)?;
            }
            run.adds_up(0)?.says(kernel::END_OF_REPORT)?.ends(End::Crashed)?.passes()
        })
    };
    let unseen = |kind: &'static str| {
        Test::new(format!("debug::{kind}-is-not-found-when-nothing-is-debugged"), move || {
            let run = Run::of(with("", 2, &format!("fault {kind}; quit")))?;
            run.says("the fault did not come")?.never_says("mm:")?.ends(End::CommandFailed)?.passes()
        })
    };
    let rest = [
        Test::new("debug::stress-passes-with-all-checks-and-finds-nothing", || {
            let run = Run::of(with("debug=slab", 4, "stress 30000 seed=5; slabs check; mem; quit"))?;
            run.says("79 of 79 size classes are debugged")?.judges("stress", &[true])?.says(": 0 wrong")?;
            run.never_says("mm:")?.adds_up(1)?.ends(End::Success)?.passes()
        }),
        Test::new("debug::stress-passes-with-guarded-objects-and-every-frame-comes-back", || {
            let run = Run::of(with("debug=guard:7", 4, "mem; stress 30000 seed=5; mem; quit"))?;
            run.judges("stress", &[true])?.never_says("mm:")?.adds_up(2)?.ends(End::Success)?.passes()
        }),
        Test::new("debug::a-machine-boots-whose-first-objects-are-guarded", || {
            let settings = Settings { mem: "32M".into(), ..with("debug=guard:1", 4, "stress 5000 seed=7; mem; quit") };
            let run = Run::of(settings)?;
            run.says("cpus: 4 online")?.judges("stress", &[true])?.adds_up(1)?.ends(End::Success)?.passes()
        }),
        Test::new("debug::checks-are-chosen-by-size", || {
            let run = Run::of(with("debug=slab:redzone@64,192", 1, "slabs check; fault use-after-free; quit"))?;
            run.says("2 of 79 size classes are debugged")?.says("the fault did not come")?;
            run.ends(End::CommandFailed)?.passes()
        }),
        Test::new("debug::a-name-that-no-class-has-and-the-interval-that-counts-are-said", || {
            let run = Run::of(with("debug=slab@mine debug=guard:9 debug=guard:7", 1, "quit"))?;
            run.says("0 of 79 size classes are debugged")?.says("one in 7 visits")?.never_says("one in 9 visits")?;
            run.ends(End::Success)?.passes()
        }),
        Test::new("debug::words-that-mean-nothing-are-named", || {
            let append = "debug=slab:poisson debug=slab@99999 debug=guard:0 debug=slub";
            let run = Run::of(with(append, 1, "mem; quit"))?;
            for word in ["`poisson`", "`99999`", "`0`", "`slub`"] {
                run.says(word)?;
            }
            run.adds_up(1)?.ends(End::CommandFailed)?.passes()
        }),
        Test::new("debug::leaks-are-listed-by-who-allocated-them", || {
            let run = Run::of(with("debug=slab:audit", 3, "slabs leaks; slabs leaks 144; quit"))?;
            // What two CPUs need that the first one started.
            run.says("live objects in debugged caches")?.says("of 144 bytes: 2 live objects")?;
            run.says("others::start+")?.ends(End::Success)?.passes()
        }),
        Test::new("debug::there-is-nothing-to-list-when-nothing-is-debugged", || {
            let run = Run::of(with("", 1, "slabs leaks; slabs check; quit"))?;
            run.says("no cache is debugged")?.ends(End::CommandFailed)?.passes()
        }),
    ];
    FOUND
        .into_iter()
        .map(goes_on)
        .chain(FOUND.into_iter().map(crashes))
        .chain(GUARDED.into_iter().map(guarded))
        .chain(["redzone", "use-after-free", "guard-overrun", "guard-use-after-free"].map(unseen))
        .chain(rest)
        .collect()
}
