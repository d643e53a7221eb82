//! What the kernel prints, as far as a program reads it: the one place to change when a line changes.
//!
//! The kernel is not linked here: its words are a contract, and these are the other side's notes of it.

/// Printed before anything else, on the first CPU, as soon as the serial line works.
pub const ENTRY: &str = "bandolier: entry";

/// What the shell does when nobody is at a terminal, with [`DEMONSTRATION_MODULE`] loaded.
pub const DEMONSTRATION: &str = "cpus; mem; slabs; replay fork-exec-small.kmt; stress 5s; mem; quit";

/// The commands whose counts the README quotes.
pub const COUNTING: &str = "replay fork-exec-small.kmt; tlb pages=256; mem; quit";

/// The command that judges what shootdowns cost by counts, and the one that judges instructions, too.
pub const TLB_FIGURES: &str = "tlb figures --json";
/// See [`TLB_FIGURES`].
pub const TLB_FIGURES_EXACT: &str = "tlb figures --exact --json";

/// Its figure of the CPU that begins a round.
pub const TLB_INITIATOR: &str = "round: initiator's instructions";
/// Its figure of a whole round.
pub const TLB_ALL_CPUS: &str = "round: instructions of all CPUs";
/// Its figure of the boot.
pub const TLB_BOOT: &str = "boot: entry to all online";

/// The recording that the demonstration replays.
pub const DEMONSTRATION_MODULE: &str = "fork-exec-small.kmt";

/// The kinds of `fault`, each with words that its report must contain (in any case of letters).
pub const FAULTS: &[(&str, &[&str])] = &[
    ("panic", &["crash on cpu 0: panicked at", "asked for", "fault::fault"]),
    ("read", &["page fault", "read from a page that is not mapped", "0x10"]),
    ("write", &["page fault", "write to a page that is not mapped", "0x10"]),
    ("text", &["page fault", "read-only"]),
    ("execute", &["page fault", "instruction fetch", "no-execute"]),
    ("stack", &["double fault", "fault::overflow"]),
    ("opcode", &["invalid opcode", "undefined_opcode"]),
    ("divide", &["divide error", "divide_by_zero"]),
    ("gp", &["general protection"]),
    ("double-free", &["bad free", "is free already"]),
    ("alloc", &["memory allocation of 64 bytes failed"]),
    ("other-cpu", &["crash on cpu 1: panicked at", "asked for"]),
];

/// The last line of a crash report.
pub const END_OF_REPORT: &str = "*** end of the report";

/// How many CPUs the answer to `cpus` or `smp` counts as up, of how many (`7 of 8 CPUs online`, `1 of 1 CPU online`).
pub fn cpus_online(serial: &str) -> Option<(u32, u32)> {
    serial.lines().find_map(|line| {
        let line = line.trim();
        let counts = line.strip_suffix(" CPUs online").or(line.strip_suffix(" CPU online"))?;
        let (up, all) = counts.split_once(" of ")?;
        Some((up.parse().ok()?, all.parse().ok()?))
    })
}

/// The same if all are up.
pub fn cpus_up(serial: &str) -> Option<u32> {
    cpus_online(serial).filter(|(up, all)| up == all).map(|(up, _)| up)
}

/// The interrupt vector of a shootdown.
pub const SHOOTDOWN_VECTOR: u8 = 0xf0;

/// The shootdown interrupts that the answer to `cpus` says were sent: the sum of its column `ipis sent`.
pub fn ipis_sent(serial: &str) -> Option<u64> {
    column_of_cpus(serial, 5)
}

/// The interrupts that the answer to `cpus` says were handled: the sum of its column `interrupts`.
pub fn interrupts_taken(serial: &str) -> Option<u64> {
    column_of_cpus(serial, 3)
}

fn column_of_cpus(serial: &str, column: usize) -> Option<u64> {
    let mut lines = serial.lines().skip_while(|line| !line.contains("ipis sent"));
    lines.next()?;
    let rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.take_while(|row| row.get(2).is_some_and(|state| *state == "Online"));
    rows.map(|row| row.get(column)?.replace(',', "").parse::<u64>().ok()).sum()
}

/// How the kernel names the mode of its local APICs in the boot lines.
pub fn apic_mode(x2apic: bool) -> &'static str {
    if x2apic { "(x2APIC)" } else { "(xAPIC)" }
}

/// The functions that the backtraces of a crash report name (`0xffffffff80010adb module::function+0x1b`).
pub fn backtrace(serial: &str) -> Vec<&str> {
    let of = |line| {
        let (_, at) = str::split_once(line, "0xffffffff8")?;
        let (name, _) = at.split_once(' ')?.1.rsplit_once("+0x")?;
        Some(name)
    };
    serial.lines().filter_map(of).collect()
}

/// The lines between a command of a script and the next prompt; empty if it did not run.
pub fn answer<'a>(serial: &'a str, command: &str) -> &'a str {
    let is_prompt = |line: &str| prompt_at(line.as_bytes()).is_some();
    let is_ours = |line: &str| {
        prompt_at(line.as_bytes()).is_some_and(|(len, _)| line.get(len..).is_some_and(|rest| rest.trim() == command))
    };
    let (mut start, mut at) = (None, 0);
    for line in serial.split_inclusive('\n') {
        match start {
            None if is_ours(line) => start = Some(at + line.len()),
            Some(start) if is_prompt(line) => return &serial[start..at],
            _ => {}
        }
        at += line.len();
    }
    start.map_or("", |start| &serial[start..])
}

/// Finds the shell's prompt, `bandolier> ` or `bandolier [status]> `, at the start of a line. Returns the index behind
/// it and the status of the last command. A prompt drawn again while a line is edited follows a carriage return
/// alone, not a line feed, and does not count.
pub fn prompt(serial: &[u8]) -> Option<(usize, u32)> {
    let mut line_start = 0;
    loop {
        if let Some((len, status)) = prompt_at(&serial[line_start..]) {
            return Some((line_start + len, status));
        }
        line_start += serial[line_start..].iter().position(|&b| b == b'\n')? + 1;
    }
}

fn prompt_at(line: &[u8]) -> Option<(usize, u32)> {
    let rest = line.strip_prefix(b"bandolier")?;
    if rest.starts_with(b"> ") {
        return Some(("bandolier> ".len(), 0));
    }
    let digits = rest.strip_prefix(b" [")?;
    let len = digits.iter().position(|b| !b.is_ascii_digit())?;
    let status = std::str::from_utf8(&digits[..len]).ok()?.parse().ok()?;
    digits[len..].starts_with(b"]> ").then_some(("bandolier []> ".len() + len, status))
}

/// The verdict of a long command (`stress`, `replay`), which it prints as `name: PASS ...` or `name: FAIL ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is a PASS.
    pub pass: bool,
    /// The rest of the line.
    pub details: String,
}

impl Verdict {
    /// The value of `key=value` in the details.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.details.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

/// The verdicts of a command in a serial log, in order.
pub fn verdicts(serial: &str, command: &str) -> Vec<Verdict> {
    let read = |line: &str| {
        let rest = line.trim().strip_prefix(command)?.strip_prefix(": ")?;
        let (word, details) = rest.split_once(' ').unwrap_or((rest, ""));
        let pass = match word {
            "PASS" => true,
            "FAIL" => false,
            _ => return None,
        };
        Some(Verdict { pass, details: details.into() })
    };
    serial.lines().filter_map(read).collect()
}

/// Depot visits in each replay, from its line `replay: magazine hits 98.7 %, 44 depot visits, ...`.
pub fn depot_visits(serial: &str) -> Vec<u64> {
    let of = |line: &str| {
        let (before, _) = line.trim().strip_prefix("replay: ")?.split_once(" depot visits")?;
        before.rsplit(' ').next()?.replace(',', "").parse().ok()
    };
    serial.lines().filter_map(of).collect()
}

/// The results of the `mem` identity in a serial log, in order: true where it adds up to the last frame.
pub fn identities(serial: &str) -> Vec<bool> {
    let of = |line: &str| {
        let rest = line.trim().strip_prefix("mem: ")?;
        if rest.ends_with("ok") {
            Some(true)
        } else if rest.contains("FAIL") {
            Some(false)
        } else {
            None
        }
    };
    serial.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_counts_at_the_start_of_a_line_only() {
        assert_eq!(prompt(b"hello\r\nbandolier> "), Some((18, 0)));
        assert_eq!(prompt(b"bandolier [12]> mem"), Some((16, 12)));
        assert_eq!(prompt(b"bandolier: entry\r\n"), None);
        assert_eq!(prompt(b"x\r\x1b[Kbandolier> me"), None);
        assert_eq!(prompt(b"a bandolier> "), None);
    }

    #[test]
    fn an_answer_stands_between_two_prompts() {
        let log = "bandolier> mem --json\r\n{}\r\nbandolier [1]> mem\r\n1 bandolier> x\r\n2\r\nbandolier> quit\r\n";
        assert_eq!(answer(log, "mem"), "1 bandolier> x\r\n2\r\n");
        assert_eq!(answer(log, "mem --json"), "{}\r\n");
        assert_eq!((answer(log, "quit"), answer(log, "cpus")), ("", ""));
    }

    #[test]
    fn verdicts_are_read_with_their_values() {
        let log = "stress: 1 s\r\nstress: PASS seed=7 ops=100\r\nstress: FAIL stale\r\nstress: PASSED\r\n";
        let found = verdicts(log, "stress");
        assert_eq!(found.iter().map(|v| v.pass).collect::<Vec<_>>(), [true, false]);
        assert_eq!(found[0].value("seed"), Some("7"));
        assert_eq!(found[0].value("see"), None);
        assert!(verdicts(log, "replay").is_empty());
    }

    #[test]
    fn cpus_are_up_only_if_all_are() {
        assert_eq!(cpus_up("  0  Online\r\n8 of 8 CPUs online\r\n"), Some(8));
        assert_eq!(cpus_up("7 of 8 CPUs online\r\n"), None);
        assert_eq!(cpus_online("7 of 8 CPUs online\r\n"), Some((7, 8)));
        assert_eq!(cpus_up("1 of 1 CPU online\r\n"), Some(1));
        assert_eq!(cpus_up("cpus: 8 online\r\n"), None);
    }

    #[test]
    fn interrupts_sent_are_added_up() {
        let table = "cpu  apic id  state   interrupts  shootdowns  ipis sent  pages flushed  full flushes\r\n  \
                     0  0  Online  1  130  1,257  128  3\r\n  1  1  Online  121  0  2  128  2\r\n2 of 2 CPUs online\r\n";
        assert_eq!(ipis_sent(table), Some(1259));
        assert_eq!(ipis_sent("2 of 2 CPUs online\r\n"), None);
    }

    #[test]
    fn functions_are_read_from_a_backtrace() {
        let log = "at  0xffffffff80010304 arch::fault::x+0x4\r\nrip ffffffff80010304\r\n\
                   0  0xffffffff800254a1 <a as b>::c+0x291\r\nat  0xffffffff800422f0 (no symbol)\r\n";
        assert_eq!(backtrace(log), ["arch::fault::x", "<a as b>::c"]);
    }

    #[test]
    fn depot_visits_are_read_with_their_commas() {
        let log = "replay: magazine hits 98.752 %, 1,044 depot visits, 155 slab visits\r\nreplay: PASS x\r\n";
        assert_eq!(depot_visits(log), [1044]);
    }

    #[test]
    fn identities_are_told_apart() {
        assert_eq!(identities("mem: 5 frames: ok\r\nmem: 5 frames, FAIL by 1\r\nmem: usable\r\n"), [true, false]);
    }
}
