//! What the tests are made of: a machine run to its end ([`Run`]), one that is typed at ([`Typist`]), and failures
//! that can be repeated.

use std::fmt;
use std::time::Duration;
pub(crate) use tests::Settings;
use tests::qemu::{Console, Launch};
use tests::session::{Report, Session, WaitError};
use tests::{End, Error, kernel};

/// How long any machine may run, unless a test says otherwise.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// What stops a command.
pub(crate) const CTRL_C: &str = "\x03";

/// One test.
pub(crate) struct Test {
    /// Group and behaviour, for the filter.
    pub(crate) name: String,
    /// Runs it.
    pub(crate) run: Box<dyn Fn() -> Outcome>,
}

impl Test {
    /// A test of that name.
    pub(crate) fn new(name: impl Into<String>, run: impl Fn() -> Outcome + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// What stands before the colons of its name.
    pub(crate) fn group(&self) -> &str {
        self.name.split("::").next().unwrap_or_default()
    }
}

/// A test that did not fail.
pub(crate) enum Passed {
    /// It ran.
    Yes,
    /// It could not run here, for this reason.
    Skipped(String),
}

/// What a test comes to.
pub(crate) type Outcome = Result<Passed, Failure>;

/// What was expected and not seen, and all that is needed to look into it.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    log: String,
    again: String,
}

impl Failure {
    /// What was expected, the serial log, and the line that boots the same machine again.
    pub(crate) fn new(what: String, log: String, again: String) -> Self {
        Self { what, log, again }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    expected: {}", self.what)?;
        let lines: Vec<&str> = self.log.lines().collect();
        let skipped = lines.len().saturating_sub(40);
        if skipped > 0 {
            writeln!(f, "    | ({skipped} lines before)")?;
        }
        for line in &lines[skipped..] {
            writeln!(f, "    | {}", line.escape_debug())?;
        }
        write!(f, "    again: {}", self.again)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { what: "a machine that can be started".into(), log: error.to_string(), again: "just doctor".into() }
    }
}

/// The usual machine for a script.
pub(crate) fn script(cpus: u32, cmd: &str) -> Settings {
    Settings { cpus, mem: "256M".into(), cmd: cmd.into(), timeout: LIMIT, ..Settings::default() }
}

/// The same without x2APIC.
pub(crate) fn xapic(settings: Settings) -> Settings {
    Settings { cpu: "max,-x2apic".into(), ..settings }
}

/// A machine that has run to its end.
pub(crate) struct Run {
    settings: Settings,
    report: Report,
}

impl Run {
    /// Boots, and waits for the end.
    pub(crate) fn of(settings: Settings) -> Result<Self, Failure> {
        let session = Session::start(Launch::prepare(&settings, Console::Pipe)?, settings.timeout, false)?;
        Ok(Self { report: session.finish(), settings })
    }

    /// The serial log.
    pub(crate) fn serial(&self) -> &str {
        &self.report.serial
    }

    /// What QEMU itself said.
    pub(crate) fn qemu_said(&self) -> &str {
        &self.report.qemu_said
    }

    /// The machine ended like this.
    pub(crate) fn ends(&self, end: End) -> Result<&Self, Failure> {
        self.check(self.report.end == end, || format!("the end \"{end}\", but it was \"{}\"", self.report.end))
    }

    /// The machine itself reported that something is wrong.
    pub(crate) fn ends_badly(&self) -> Result<&Self, Failure> {
        let end = self.report.end;
        self.check(matches!(end, End::BadBoot | End::Crashed), || format!("a report of failure, but it was \"{end}\""))
    }

    /// The serial log contains the text.
    pub(crate) fn says(&self, text: &str) -> Result<&Self, Failure> {
        self.check(self.serial().contains(text), || format!("{text:?} on the serial line"))
    }

    /// The serial log contains one of the texts, whatever the case of its letters.
    pub(crate) fn says_any(&self, texts: &[&str]) -> Result<&Self, Failure> {
        let log = self.serial().to_lowercase();
        self.check(texts.iter().any(|t| log.contains(&t.to_lowercase())), || format!("one of {texts:?}"))
    }

    /// The serial log does not contain the text.
    pub(crate) fn never_says(&self, text: &str) -> Result<&Self, Failure> {
        self.check(!self.serial().contains(text), || format!("no {text:?} on the serial line"))
    }

    /// `mem` ran that often, and added up to the last frame each time.
    pub(crate) fn adds_up(&self, times: usize) -> Result<&Self, Failure> {
        let found = kernel::identities(self.serial());
        self.check(found == vec![true; times], || format!("mem to add up {times} times, found {found:?}"))
    }

    /// The command printed these verdicts (true for PASS), no more and no fewer.
    pub(crate) fn judges(&self, command: &str, passes: &[bool]) -> Result<&Self, Failure> {
        let found: Vec<bool> = kernel::verdicts(self.serial(), command).iter().map(|v| v.pass).collect();
        self.check(found == passes, || format!("verdicts of {command} (PASS is true) {passes:?}, found {found:?}"))
    }

    /// Any other condition.
    pub(crate) fn check(&self, holds: bool, what: impl Fn() -> String) -> Result<&Self, Failure> {
        if holds {
            return Ok(self);
        }
        let log = format!("{}\n{}", self.report.serial, self.report.qemu_said);
        Err(Failure { what: what(), log, again: self.settings.as_just() })
    }

    /// The end of a chain of checks.
    pub(crate) fn passes(&self) -> Outcome {
        Ok(Passed::Yes)
    }
}

/// A machine at its prompt, and someone typing.
pub(crate) struct Typist {
    settings: Settings,
    session: Session,
}

impl Typist {
    /// Boots to the first prompt.
    pub(crate) fn at_prompt(settings: Settings) -> Result<Self, Failure> {
        let mut typist = Self::start(settings)?;
        typist.prompt()?;
        Ok(typist)
    }

    /// Boots, without waiting for anything.
    pub(crate) fn start(settings: Settings) -> Result<Self, Failure> {
        let session = Session::start(Launch::prepare(&settings, Console::Pipe)?, settings.timeout, false)?;
        Ok(Self { settings, session })
    }

    /// Waits for the next prompt; returns the status it shows.
    pub(crate) fn prompt(&mut self) -> Result<u32, Failure> {
        let found = self.session.wait_until(LIMIT, |serial| kernel::prompt(serial).map(|(len, _)| len));
        let serial = self.session.serial();
        self.check(found, "the prompt")?;
        let last = serial.rfind('\n').map_or(0, |at| at + 1);
        Ok(kernel::prompt(&serial.as_bytes()[last..]).map_or(0, |(_, status)| status))
    }

    /// Types, without waiting for anything.
    pub(crate) fn keys(&mut self, keys: &str) {
        self.session.send(keys.as_bytes());
    }

    /// Waits for text behind what was read before.
    pub(crate) fn reads(&mut self, text: &str) -> Result<(), Failure> {
        let found = self.session.wait_for(text, LIMIT);
        self.check(found, &format!("{text:?} on the serial line"))
    }

    /// Whether text arrives within this time.
    pub(crate) fn has_read(&mut self, text: &str, within: Duration) -> bool {
        self.session.wait_for(text, within).is_ok()
    }

    /// Types keys and Enter, and waits for the next prompt. Returns the text between and the status shown.
    pub(crate) fn enter(&mut self, keys: &str) -> Result<(String, u32), Failure> {
        let before = self.session.serial().len();
        self.keys(keys);
        self.keys("\r");
        let status = self.prompt()?;
        Ok((self.session.serial().get(before..).unwrap_or_default().to_string(), status))
    }

    /// Stops a `bench` that runs, by Ctrl-C: it ends without a row and with status 1, and then memory adds up.
    pub(crate) fn stops_bench(&mut self) -> Result<(), Failure> {
        self.keys(CTRL_C);
        self.reads("bench: PASS rows=0 bad=0 stopped")?;
        let status = self.prompt()?;
        self.expect(status == 1, format!("a run that was stopped to have failed, status {status}"))?;
        let (_, status) = self.enter("mem")?;
        self.expect(status == 0, "mem to add up after the interruption")
    }

    /// CPU time that QEMU has used so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.session.cpu_time().expect("the host tells the time that a process has used, in /proc")
    }

    /// Types `quit` and waits for the end.
    pub(crate) fn quit(mut self) -> Run {
        self.keys("quit\r");
        Run { report: self.session.finish(), settings: self.settings }
    }

    /// A failure at this point unless the condition holds.
    pub(crate) fn expect(&self, holds: bool, what: impl Into<String>) -> Result<(), Failure> {
        if holds { Ok(()) } else { Err(self.failure(what.into())) }
    }

    fn check(&self, found: Result<Duration, WaitError>, what: &str) -> Result<(), Failure> {
        match found {
            Ok(_) => Ok(()),
            Err(WaitError::TimedOut) => Err(self.failure(format!("{what}, in time"))),
            Err(WaitError::Ended) => Err(self.failure(format!("{what}, before the machine's end"))),
        }
    }

    fn failure(&self, what: String) -> Failure {
        Failure { what, log: self.session.serial(), again: self.settings.as_just() }
    }
}
