//! The screen and the keyboard, on real Limine: what a screenshot shows is read and compared, text by text, with what
//! the serial line said, or with what must be there where the machine has none.
//!
//! Two machines by default, one with the largest screen and one with the smallest. `screens` as a filter
//! (`just test-screens`) boots every combination of firmware, size and serial line instead.

use crate::support::{Failure, LIMIT, Outcome, Passed, Settings, Test, script};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use tests::qemu::{Console, Launch};
use tests::qmp::Qmp;
use tests::screen::{Face, Image, difference, expected};
use tests::session::Session;
use tests::settings::{Boot, boot_name};
use tests::{host, image, kernel, scratch};

const SIZES: [&str; 3] = ["1024x768", "1920x1080", "3840x2160"];
const CPUS: u32 = 2;
/// A benchmark that is over at once, with a table of results that every screen has room for.
const BENCH: &str = "bench pair64 --ops 256 --reps 1 --cpus 1 --contender heap,talc";
const CONTENDERS: [&str; 2] = ["heap", "talc"];
/// How long the screen may lag behind the serial line.
const LAG: Duration = Duration::from_secs(20);

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let usual = [
        Test::new("screen::shows-what-the-serial-line-says", || mirrors(Boot::Iso, SIZES[2])),
        Test::new("screen::is-enough-without-a-serial-line", || stands_alone(Boot::Uefi, SIZES[0])),
    ];
    let all = [Boot::Iso, Boot::Uefi].into_iter().flat_map(|boot| SIZES.map(|size| (boot, size)));
    let all = all.flat_map(|(boot, size)| {
        let name = |rest| format!("screens::{}-{size}-{rest}", boot_name(boot));
        [
            Test::new(name("with-serial"), move || mirrors(boot, size)),
            Test::new(name("without"), move || stands_alone(boot, size)),
        ]
    });
    usual.into_iter().chain(all).collect()
}

/// Whether a test is one of many that only a filter asks for.
pub(crate) fn is_on_demand(test: &Test) -> bool {
    test.group() == "screens"
}

fn missing(boot: Boot) -> Option<String> {
    match image::limine_dir() {
        Err(why) => Some(why.to_string()),
        Ok(_) if boot == Boot::Uefi && host::ovmf().is_none() => Some("OVMF is not installed".into()),
        Ok(_) => None,
    }
}

/// With a serial line: the screen shows the same, while commands are typed on the keyboard, and after scrolling.
fn mirrors(boot: Boot, size: &'static str) -> Outcome {
    if let Some(why) = missing(boot) {
        return Ok(Passed::Skipped(why));
    }
    let mut watcher = Watcher::boot(boot, size, true)?;
    watcher.prompt()?;
    watcher.enter("cpus")?;
    watcher.compare()?;
    let seen = watcher.look()?;
    watcher.expect(seen.iter().any(|row| row == kernel::ENTRY), "the first line of the boot on the screen")?;
    watcher.expect(seen.iter().any(|row| row == &format!("{CPUS} of {CPUS} CPUs online")), "the table of CPUs")?;
    watcher.enter(BENCH)?;
    watcher.compare()?;
    let seen = watcher.look()?;
    watcher.expect_results(&seen)?;
    // That the comparison can fail: with one letter of all that was printed another one, it must.
    let said = watcher.said().replace("bench: PASS", "bench: PA5S");
    let (seen, should) = (watcher.look()?, watcher.expected(&said));
    watcher.expect(difference(&seen, &should).is_some(), "a wrong letter to be noticed")?;

    // Several screens of text, even where a screen has many rows.
    for command in ["help", "mem", "slabs", "help", "mem", "slabs"] {
        watcher.enter(command)?;
    }
    watcher.compare()?;
    for _ in 0..12 {
        watcher.press("shift pgup")?;
    }
    watcher.wait_for("the first line again, looking back", |rows| {
        rows[0].starts_with(kernel::ENTRY) && rows[0].ends_with("lines back")
    })?;
    watcher.press("shift pgdn")?;
    watcher.wait_for("a later line, looking ahead", |rows| {
        !rows[0].starts_with(kernel::ENTRY) && rows[0].ends_with("lines back")
    })?;
    watcher.enter("")?;
    watcher.compare()?;

    watcher.type_text("stress 600s\n")?;
    watcher.reads("stress: ")?;
    watcher.press("ctrl c")?;
    watcher.prompt()?;
    watcher.compare()?;
    Ok(Passed::Yes)
}

/// Without: boot, prompt and a table of results are on the screen, the keyboard is enough, and a crash is reported there.
fn stands_alone(boot: Boot, size: &'static str) -> Outcome {
    if let Some(why) = missing(boot) {
        return Ok(Passed::Skipped(why));
    }
    let mut watcher = Watcher::boot(boot, size, false)?;
    let is_at_prompt = |rows: &[String]| last(rows) == "bandolier>";
    let rows = watcher.wait_for("the prompt", is_at_prompt)?;
    watcher.expect(rows.iter().any(|row| row == kernel::ENTRY), "the first line of the boot")?;
    watcher.expect(rows.iter().any(|row| row.ends_with("serial: there is no port")), "that there is no serial port")?;

    // Home, Delete and an arrow on the way: the keys arrive as a terminal would send them.
    watcher.type_text("xpus")?;
    for key in ["home", "delete"] {
        watcher.press(key)?;
    }
    watcher.type_text("c\n")?;
    let rows = watcher.wait_for("the prompt after a table", |rows| {
        is_at_prompt(rows) && rows.iter().any(|row| row == "bandolier> cpus")
    })?;
    let table: Vec<&str> =
        rows.iter().skip_while(|row| *row != "bandolier> cpus").skip(1).map(String::as_str).collect();
    let words = |row: usize| table.get(row).map_or(Vec::new(), |row| row.split_whitespace().collect());
    watcher.expect(words(0).join(" ").starts_with("cpu apic id state interrupts"), "the table's head")?;
    for cpu in 0..CPUS as usize {
        let number = cpu.to_string();
        let found = words(1 + cpu);
        watcher.expect(found.starts_with(&[&number, &number, "Online"]), format!("the row of CPU {cpu}"))?;
    }
    watcher.expect(table.iter().any(|row| row.ends_with("CPUs online")), "what stands below the table")?;

    watcher.type_text(&format!("{BENCH}\n"))?;
    let rows = watcher.wait_for("the prompt after a benchmark", |rows| {
        is_at_prompt(rows) && rows.iter().any(|row| row.starts_with("bench: PASS"))
    })?;
    watcher.expect_results(&rows)?;

    watcher.type_text("screen test\n")?;
    watcher.wait_for_picture()?;
    watcher.press("spc")?;
    watcher.wait_for("the text again after a picture", is_at_prompt)?;

    watcher.type_text("fault panic\n")?;
    let rows = watcher.wait_for("the report of a crash", |rows| last(rows) == kernel::END_OF_REPORT)?;
    let has = |text: &str| rows.iter().any(|row| row.contains(text));
    watcher.expect(has("*** crash on cpu 0: panicked at") && has("backtrace:"), "what crashed, and where")?;
    watcher.expect(has("bandolier> fault panic"), "what was on the screen before")?;
    Ok(Passed::Yes)
}

/// The last row that has text.
fn last(rows: &[String]) -> &str {
    rows.iter().rfind(|row| !row.is_empty()).map_or("", String::as_str)
}

/// A machine with a screen, and somebody in front of it.
struct Watcher {
    settings: Settings,
    session: Session,
    qmp: Qmp,
    file: PathBuf,
    face: Option<Face>,
}

impl Watcher {
    fn boot(boot: Boot, size: &str, has_serial: bool) -> Result<Self, Failure> {
        let settings = Settings { boot, screen: size.into(), timeout: 2 * LIMIT, ..script(CPUS, "") };
        let launch = Launch::prepare(&settings, Console::Screen { has_serial })?;
        let (socket, file) = launch.screen_files();
        let session = Session::start(launch, settings.timeout, false)?;
        let qmp = Qmp::connect(&socket)?;
        Ok(Self { settings, session, qmp, file, face: None })
    }

    fn press(&mut self, keys: &str) -> Result<(), Failure> {
        Ok(self.qmp.press(keys)?)
    }

    fn type_text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.qmp.type_text(text)?)
    }

    /// Types a command and waits for the prompt on the serial line.
    fn enter(&mut self, command: &str) -> Result<(), Failure> {
        self.type_text(command)?;
        self.type_text("\n")?;
        self.prompt()
    }

    fn prompt(&mut self) -> Result<(), Failure> {
        let found = self.session.wait_until(LIMIT, |serial| kernel::prompt(serial).map(|(len, _)| len));
        self.expect(found.is_ok(), "the prompt on the serial line")
    }

    fn reads(&mut self, text: &str) -> Result<(), Failure> {
        let found = self.session.wait_for(text, LIMIT);
        self.expect(found.is_ok(), format!("{text:?} on the serial line"))
    }

    /// What the kernel said on the serial line.
    fn said(&self) -> String {
        let serial = self.session.serial();
        serial.find(kernel::ENTRY).map_or(String::new(), |start| serial[start..].to_string())
    }

    fn expected(&self, text: &str) -> Vec<String> {
        let (width, height) = tests::settings::screen_size(&self.settings.screen).unwrap_or_default();
        self.face.as_ref().map_or(Vec::new(), |face| expected(text, face.grid((width as usize, height as usize))))
    }

    /// What the screen shows now; nothing where it cannot be read.
    fn look(&mut self) -> Result<Vec<String>, Failure> {
        self.qmp.screenshot(&self.file)?;
        let image = Image::read(&self.file)?;
        if self.face.is_none() {
            self.face = Face::find(&image);
        }
        Ok(self.face.as_ref().map_or(Vec::new(), |face| face.read(&image)))
    }

    /// Looks until what is seen is right.
    fn wait_for(&mut self, what: &str, is_right: impl Fn(&[String]) -> bool) -> Result<Vec<String>, Failure> {
        let until = Instant::now() + LIMIT;
        loop {
            let rows = self.look()?;
            if !rows.is_empty() && is_right(&rows) {
                return Ok(rows);
            }
            self.expect(Instant::now() < until, format!("{what}, on the screen, which showed\n{}", rows.join("\n")))?;
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Looks until the test picture is there, which has a white line around it, colours and greys.
    fn wait_for_picture(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + LIMIT;
        loop {
            self.qmp.screenshot(&self.file)?;
            let image = Image::read(&self.file)?;
            let (width, height) = image.size();
            let edges = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1), (width / 2, 0)];
            let has_edges = edges.iter().all(|&(x, y)| image.pixel(x, y) == [255; 3]);
            if has_edges && image.nr_colours() > 64 {
                return Ok(());
            }
            self.expect(Instant::now() < until, "the test picture on the screen")?;
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The screen shows exactly the last of what the serial line said.
    fn compare(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + LAG;
        loop {
            let (seen, should) = (self.look()?, self.expected(&self.said()));
            let Some((row, seen, should)) = difference(&seen, &should) else { return Ok(()) };
            self.expect(Instant::now() < until, format!("in row {row} of the screen {should:?}, not {seen:?}"))?;
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The table that [`BENCH`] prints is among these rows: its head, below it a row of each contender with a time, and
    /// its verdict.
    fn expect_results(&self, rows: &[String]) -> Result<(), Failure> {
        let words = |row: &str| row.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        let head = |row: &String| words(row).starts_with(&["workload", "cpus", "contender"].map(str::to_string));
        let table: Vec<_> = rows.iter().skip_while(|row| !head(row)).take(1 + CONTENDERS.len()).collect();
        self.expect(!table.is_empty(), "the head of the table of results")?;
        self.expect(table[0].contains("ticks") && table[0].contains("locks"), "what the columns are")?;
        for (nth, contender) in CONTENDERS.iter().enumerate() {
            let row = table.get(1 + nth).map_or(Vec::new(), |row| words(row));
            let names = row.starts_with(&["pair64", "1", contender].map(str::to_string));
            let time = row.get(3).and_then(|time| time.replace(',', "").parse::<f64>().ok());
            let is_whole = names && time.is_some_and(|ticks| ticks > 0.0);
            self.expect(is_whole, format!("a row of results of {contender}, not {row:?}"))?;
        }
        let verdict = format!("bench: PASS rows={} bad=0", CONTENDERS.len());
        self.expect(rows.contains(&verdict), "the verdict of the benchmark")
    }

    /// A failure unless the condition holds; the last screenshot is kept for it.
    fn expect(&self, holds: bool, what: impl Into<String>) -> Result<(), Failure> {
        if holds {
            return Ok(());
        }
        let kept = scratch::target_dir().join("screen.ppm");
        let note = match std::fs::copy(&self.file, &kept) {
            Ok(_) => format!("{} (the screen: {})", what.into(), kept.display()),
            Err(_) => what.into(),
        };
        Err(Failure::new(note, self.session.serial(), self.settings.as_just()))
    }
}
