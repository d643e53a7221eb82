//! A run of the benchmark leaves the machine without a network, as text and as codes, and is on the host what `--json`
//! said of it.

use crate::support::{Failure, LIMIT, Outcome, Passed, Run, Settings, Test, Typist, script};
use ::qr::collect::{Collected, Collection};
use ::qr::{blocks, part, photo, summary, symbols};
use records::lines::{self, Recording};
use std::thread;
use std::time::{Duration, Instant};
use tests::qemu::{Console, Launch};
use tests::qmp::Qmp;
use tests::session::Session;
use tests::settings::Boot;
use tests::{End, image, kernel};

const CTRL_C: &str = "\x03";
const LEFT: &str = "\x1b[D";

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("qr::what-comes-back-is-what-was-measured", comes_back),
        Test::new("qr::keys-go-on-and-back", keys),
        Test::new("qr::the-screen-is-photographed", photographed),
    ]
}

/// The only recording in `log`, whose other lines do not matter.
fn recording(log: &str) -> Result<Recording, String> {
    match lines::read(log) {
        Ok(mut runs) if runs.len() == 1 => Ok(runs.remove(0)),
        found => Err(format!("one recording, found {found:?}")),
    }
}

/// The recording in the contents of codes.
fn put_together(texts: &[Vec<u8>]) -> Result<Recording, String> {
    let mut collection = Collection::new();
    for found in texts.iter().flat_map(|text| part::find(text)) {
        collection.add(found);
    }
    match &collection.finish()[..] {
        [Collected { text: Ok(text), .. }] => recording(&String::from_utf8_lossy(text)),
        found => Err(format!("all parts of one run, found {found:?}")),
    }
}

/// As it should travel.
fn in_short(mut whole: Recording) -> Recording {
    whole.meta = summary::meta(&whole.meta);
    for row in &mut whole.rows {
        let quartiles = summary::quartiles(row.milliticks_per_op.to_mut());
        row.milliticks_per_op = quartiles.map_or(Vec::new(), Vec::from).into();
    }
    whole
}

fn comes_back() -> Outcome {
    let bench = "bench pair64 larson frame --cpus 1,2 --ops 200 --reps 5 --json";
    let drawn = "qr --columns 113";
    let run = Run::of(script(2, &format!("{bench}; qr --text; {drawn}; qr; mem; stress 2000; mem; quit")))?;
    run.ends(End::Success)?.adds_up(2)?.judges("stress", &[true])?;
    let or_fail = |found: Result<Recording, String>| {
        run.check(found.is_ok(), || found.as_ref().err().cloned().unwrap_or_default())?;
        Ok::<_, Failure>(found.unwrap_or_default())
    };
    let whole = or_fail(recording(kernel::answer(run.serial(), bench)))?;
    let is_full = whole.rows.len() > 20 && whole.rows.iter().all(|row| row.milliticks_per_op.len() == 5);
    run.check(is_full, || format!("five repetitions in each of many rows, found {}", whole.rows.len()))?;
    let wanted = in_short(whole);
    run.check(wanted.end.as_ref().is_some_and(|end| end.is_pass), || "a run that passed".into())?;
    let text = kernel::answer(run.serial(), "qr --text").as_bytes().to_vec();
    let is_plain = text.iter().all(|&byte| symbols::is_symbol(byte) || b"/\r\n".contains(&byte));
    run.check(is_plain, || "nothing but parts, of symbols that a code holds densely".into())?;
    for (way, texts) in [
        ("as text", vec![text]),
        ("drawn", blocks::read(kernel::answer(run.serial(), drawn))),
        ("drawn in 80 columns", blocks::read(kernel::answer(run.serial(), "qr"))),
    ] {
        let found = or_fail(put_together(&texts))?;
        run.check(found == wanted, || format!("{way} the summary of what --json said, {wanted:?}, found {found:?}"))?;
    }
    run.passes()
}

fn keys() -> Outcome {
    let mut typist = Typist::at_prompt(script(2, ""))?;
    let (text, status) = typist.enter("qr")?;
    typist.expect(status == 1 && text.contains("there is no run to show"), "no run to be said")?;
    let (text, status) = typist.enter("bench pair64 --ops 100 --reps 1")?;
    typist.expect(status == 0 && text.contains("`qr` shows this run as "), "a hint at qr")?;
    for wrong in ["--parts 0", "--parts 1-99", "--parts", "--auto x", "--columns 20", "--txt"] {
        let (text, status) = typist.enter(&format!("qr {wrong}"))?;
        let says_why = ["usage: qr", "expected", "did you mean"].iter().any(|words| text.contains(words));
        typist.expect(status == 2 && says_why, format!("`qr {wrong}` to be refused, status {status}"))?;
    }
    // So narrow that there are several.
    typist.keys("qr --columns 50\r");
    typist.reads("part 1 of ")?;
    typist.keys(" ");
    typist.reads("part 2 of ")?;
    typist.keys(LEFT);
    typist.reads("part 1 of ")?;
    typist.keys("\r");
    typist.reads("part 2 of ")?;
    typist.keys("q");
    typist.prompt()?;
    typist.keys("qr --columns 50 --parts 2-3\r");
    typist.reads("part 2 of ")?;
    typist.keys(CTRL_C);
    typist.prompt()?;
    let (text, status) = typist.enter("qr --columns 50 --auto 1ms --parts 3,1")?;
    let is_each = text.contains("part 1 of ") && text.contains("part 3 of ") && !text.contains("part 2 of ");
    typist.expect(status == 0 && is_each, "two parts, one after another by themselves")?;
    typist.quit().ends(End::CommandFailed)?.passes()
}

/// Codes on a real screen, one after another, as a camera would see them; the keyboard goes on.
fn photographed() -> Outcome {
    if let Err(why) = image::limine_dir() {
        return Ok(Passed::Skipped(why.to_string()));
    }
    let settings = Settings { boot: Boot::Iso, screen: "1024x768".into(), timeout: 2 * LIMIT, ..script(2, "") };
    let launch = Launch::prepare(&settings, Console::Screen { has_serial: true })?;
    let (socket, file) = launch.screen_files();
    let mut session = Session::start(launch, settings.timeout, false)?;
    let mut qmp = Qmp::connect(&socket)?;
    let expect = |session: &Session, holds: bool, what: &str| match holds {
        true => Ok(()),
        false => Err(Failure::new(what.into(), session.serial(), settings.as_just())),
    };
    let prompt = |session: &mut Session| {
        let found = session.wait_until(LIMIT, |serial| kernel::prompt(serial).map(|(len, _)| len));
        expect(session, found.is_ok(), "the prompt")
    };
    prompt(&mut session)?;
    session.send(b"bench pair64 larson --cpus 1,2 --ops 100 --reps 3 --json\r");
    prompt(&mut session)?;
    session.send(b"qr\r");
    let mut texts: Vec<Vec<u8>> = Vec::new();
    let until = Instant::now() + LIMIT;
    while put_together(&texts).is_err() {
        expect(
            &session,
            Instant::now() < until,
            &format!("all codes on the screen, in time; there were {}", texts.len()),
        )?;
        qmp.screenshot(&file)?;
        let seen = std::fs::read(&file).ok().and_then(|file| photo::read(&file).ok()).unwrap_or_default();
        let before = texts.len();
        seen.texts.into_iter().for_each(|text| {
            if !texts.contains(&text) {
                texts.push(text);
            }
        });
        if texts.len() > before {
            qmp.press("spc")?;
        } else {
            thread::sleep(Duration::from_millis(100));
        }
    }
    expect(&session, texts.len() > 1, "more than one code")?;
    prompt(&mut session)?;
    let wanted = recording(&session.serial()).map(in_short);
    expect(&session, wanted.is_ok() && put_together(&texts) == wanted, "the summary of what --json said")?;
    Ok(Passed::Yes)
}
