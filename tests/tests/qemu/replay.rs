//! Recordings of a real kernel's allocator traffic: whole ones are replayed without loss, damaged ones refused.

use crate::support::{Outcome, Passed, Run, Settings, Test, Typist, script};
use std::path::PathBuf;
use std::time::Duration;
use tests::scratch::Scratch;
use tests::settings::recording_dirs;
use tests::trace::{Recording, damaged};
use tests::{End, error};

/// The recordings, and the memory that each is replayed in.
const RECORDINGS: [(&str, &str); 5] = [
    ("fork-exec-small.kmt", "128M"),
    ("fork-exec.kmt", "256M"),
    ("tcp-loopback.kmt", "256M"),
    ("file-walk.kmt", "512M"),
    ("rust-build.kmt", "2G"),
];

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let mut all = Vec::new();
    for (name, mem) in RECORDINGS {
        for cpus in [2, 8] {
            all.push(Test::new(format!("replay::{name}-{cpus}-cpus"), move || whole(name, mem, cpus)));
        }
    }
    all.push(Test::new("replay::damaged-recordings-are-refused", refuses_damaged));
    all.push(Test::new("replay::too-little-memory-is-said-before-the-start", too_little_memory));
    all
}

fn find(name: &str) -> Option<PathBuf> {
    recording_dirs().into_iter().map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn whole(name: &str, mem: &str, cpus: u32) -> Outcome {
    let Some(file) = find(name) else {
        return Ok(Passed::Skipped(format!("{name} is not in tests/data or ../shared/traces")));
    };
    let script = script(cpus, &format!("replay {name}; mem; quit"));
    // The CPUs of a recording wait for one another, which takes long on a host that is busy with other things.
    let timeout = Duration::from_secs(240);
    let run = Run::of(Settings { mem: mem.into(), modules: vec![file], timeout, ..script })?;
    run.ends(End::Success)?.judges("replay", &[true])?.adds_up(1)?.passes()
}

fn refuses_damaged() -> Outcome {
    let dir = Scratch::new()?;
    let mut settings = script(2, "");
    let mut add = |name: &str, bytes: &[u8]| {
        let file = dir.file(name);
        error::write(&file, bytes)?;
        settings.modules.push(file);
        Ok::<_, tests::Error>(())
    };
    add("good.kmt", &Recording::small().encode())?;
    add("--odd=name x", &Recording::small().encode())?;
    for bad in damaged() {
        add(&format!("{}.kmt", bad.name), &bad.bytes)?;
    }

    let mut typist = Typist::at_prompt(settings)?;
    let (text, status) = typist.enter("replay good.kmt")?;
    typist.expect(status == 0 && text.contains("PASS"), "the undamaged recording to be replayed")?;
    let (text, status) = typist.enter("replay --odd=name x")?;
    typist.expect(status == 0 && text.contains("PASS --odd=name x"), "a name to be taken as it stands")?;
    for bad in damaged() {
        let (text, status) = typist.enter(&format!("replay {}.kmt", bad.name))?;
        typist.expect(status != 0 && !text.contains("PASS"), format!("{} to be refused", bad.name))?;
        if let Some(event) = bad.event {
            let named = text.contains(&format!("event {event}"));
            typist.expect(named, format!("\"event {event}\" to be named in {}", bad.name))?;
        }
    }
    let (text, status) = typist.enter("bench replay --contender heap --reps 1 --cpus 1")?;
    typist.expect(status != 0 && text.contains("FAIL"), "a benchmark of damaged recordings to fail")?;
    let (_, status) = typist.enter("mem")?;
    typist.expect(status == 0, "mem to add up after the refusals")?;
    typist.quit().ends(End::CommandFailed)?.adds_up(1)?.passes()
}

fn too_little_memory() -> Outcome {
    let Some(file) = find("rust-build.kmt") else {
        return Ok(Passed::Skipped("rust-build.kmt is not in ../shared/traces".into()));
    };
    let script = script(2, "replay rust-build.kmt; mem; quit");
    let run = Run::of(Settings { modules: vec![file], ..script })?;
    // Refused before the start: not a word of the replay itself.
    let run = run.ends(End::CommandFailed)?.says("too little memory")?.never_says("recorded CPUs on")?;
    run.never_says("replay: PASS")?.adds_up(1)?.passes()
}
