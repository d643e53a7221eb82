//! The other CPUs: memory for each, the signal to start, the wait for them, and what became of those that did not come.
//!
//! The bootloader's list is not believed (see [`kernel::roster`]), and neither is who comes: a CPU compares its own APIC
//! id with that of its block before it goes on (see [`arch::entry`]). Whoever is listed and not wanted is sent to park in
//! the kernel's own code. All are called at once, and waited for as long as some keep coming.
//!
//! What it all comes to is in [`members`], for `smp`, and in the [`Reclaimable`] that [`start`] returns: nobody is left in
//! the bootloader's memory.
//!
//! Called by: boot, once, on the first CPU.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use arch::acpi::{Cpu, Readiness};
use arch::apic::{Mode, SendError};
use arch::cpu::Features;
use arch::entry::{ApStart, Identity};
use kernel::figures::Things;
use kernel::roster::{self, Entry, Fate, Limits};
use kernel::shown;
use mm::error::Result;
use mm::frame::PAGE_SIZE;
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use smp::{CpuId, CpuSet, MAX_CPUS};
use spin::Once;

use crate::boot::{self, Equipment};
use crate::bootinfo::BootInfo;
use crate::bootinfo::mp::{Block, Response};
use crate::console::log;
use crate::machine::{self, HEAP};
use crate::members::{self, List, Member, Standing};
use crate::per_cpu::{self, PerCpu, State};
use crate::time::Deadline;
use crate::{devices, options, space, time};

/// How long CPUs are waited for while none comes, unless `cpu-wait-ms=` says otherwise: all start at once, and where many
/// virtual CPUs share few real ones that takes.
pub const PATIENCE_MS: u64 = 10_000;
/// How long a CPU has to heed an INIT. Linux waits as long.
const INIT_NS: u64 = 10_000_000;
/// The highest APIC id that an interrupt can name in xAPIC mode; 255 is everybody.
const MAX_XAPIC_ID: u32 = 254;

/// The proof that no CPU runs in the bootloader's memory, waits in it, or reads it. Made by [`start`] alone: every CPU that
/// is listed runs the kernel on its own stack, or parks in the kernel's code on the kernel's page tables; every other
/// that ACPI names was sent to wait for a start-up message.
pub struct Reclaimable(());

/// Why there is no such proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// CPUs that were called have not left it, and may come yet.
    NotLeft {
        /// How many.
        nr_cpus: usize,
    },
    /// Nobody can say which CPUs there are.
    Unknown,
    /// A CPU that the bootloader has lost could not be sent an INIT, and may run in it.
    NotStopped {
        /// Its APIC id.
        apic_id: u32,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeft { nr_cpus: 1 } => f.write_str("a CPU that was called has not left it"),
            Self::NotLeft { nr_cpus } => write!(f, "{nr_cpus} CPUs that were called have not left it"),
            Self::Unknown => f.write_str("nobody says which CPUs there are"),
            Self::NotStopped { apic_id } => write!(f, "the CPU with APIC id {apic_id} could not be stopped"),
        }
    }
}

/// Calls every CPU that the bootloader lists, and waits for them, not for ever.
///
/// # Errors
///
/// [`Held`]: the machine goes on, without the bootloader's memory.
pub fn start(info: &BootInfo) -> core::result::Result<Reclaimable, Held> {
    let first = per_cpu::this().apic_id();
    let (list, members, parking) = match Response::read(info) {
        Ok(response) => call_all(&response, first),
        Err(why) => {
            log!("cpus: {why}; going on with this one");
            (List::Missing(why), Vec::new(), Parking::default())
        }
    };
    members::LIST.call_once(|| list);
    let members = members::ROSTER.call_once(|| members);
    wait_for(members, &parking);
    give_up_on_the_rest(members);
    time::note_all_online();
    log!("cpus: {} online", per_cpu::all().filter(|area| area.state() == State::Online).count());
    let nr_left_behind = members.iter().filter(|member| !member.has_left()).count();
    let nr_still_called = parking.nr_awaited();
    let has_strays = stop_unlisted(members, first)?;
    let is_complete = members.iter().all(|member| member.fate == Fate::First || member.is_online());
    if is_complete && !has_strays {
        machine::allow_shorthand();
    }
    match nr_left_behind + nr_still_called {
        0 => Ok(Reclaimable(())),
        nr_cpus => Err(Held::NotLeft { nr_cpus }),
    }
}

/// Where CPUs go that are not wanted. In the kernel's image, which the bootloader's tables map as ours do.
static PARKING: Once<ApStart> = Once::new();

/// How many have been sent there, who are waited for.
#[derive(Default)]
struct Parking {
    nr_sent: u32,
}

impl Parking {
    fn send(&mut self, block: &Block) {
        block.call(PARKING.call_once(|| ApStart::parking(features(), space::root())));
        self.nr_sent += 1;
    }

    /// Those that have not arrived yet.
    fn nr_awaited(&self) -> usize {
        let nr_arrived = PARKING.get().map_or(0, ApStart::nr_refused);
        self.nr_sent.saturating_sub(nr_arrived) as usize
    }
}

fn features() -> &'static Features {
    boot::features().expect("looked for first thing at boot")
}

/// Plans, and calls everybody.
fn call_all(response: &Response<'_>, first: u32) -> (List, Vec<Member>, Parking) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut members: Vec<Member> = Vec::new();
    let nr_listed = response.nr_listed();
    if entries.try_reserve_exact(nr_listed).is_err() || members.try_reserve_exact(nr_listed).is_err() {
        log!("cpus: no memory for a list of {nr_listed} CPUs; going on with this one");
        return (List::TooLong { nr_listed }, Vec::new(), Parking::default());
    }
    for place in 0..nr_listed {
        let block = response.block(place);
        let address = block.map(|block| core::ptr::from_ref(block).addr());
        entries.push(Entry::new(place, address, block.map_or(0, |block| block.apic_id())));
    }
    let is_x2apic = machine::apic().is_some_and(|apic| apic.mode() == Mode::X2Apic);
    let limits = Limits {
        nr_cpus: MAX_CPUS,
        nr_asked: options::nr_cpus().unwrap_or(usize::MAX),
        max_apic_id: if is_x2apic { u32::MAX } else { MAX_XAPIC_ID },
    };
    let is_listed = roster::plan(&mut entries, first, limits);
    complain(response, first, is_x2apic, is_listed);

    let mut parking = Parking::default();
    let mut has_memory = true;
    for entry in &mut entries {
        let mut start = None;
        let cpu = match entry.fate {
            Fate::Start { cpu } => CpuId::new(cpu),
            _ => None,
        };
        if let Some(cpu) = cpu {
            match has_memory.then(|| prepare(cpu, entry.apic_id)) {
                Some(Ok(prepared)) => start = Some(prepared),
                Some(Err(error)) => {
                    log!(
                        "cpus: no memory for cpu {cpu} ({error}); going on with {}",
                        Things(cpu.index() as u64, "CPU")
                    );
                    has_memory = false;
                    entry.fate = Fate::NoMemory;
                }
                None => entry.fate = Fate::NoMemory,
            }
        }
        let block = response.block(entry.place);
        if let (Some(start), Some(block)) = (start, block) {
            block.call(start);
        } else if let (true, Some(block)) = (entry.fate.is_parked(), block) {
            parking.send(block);
        }
        members.push(Member { place: entry.place, apic_id: entry.apic_id, fate: entry.fate, start });
    }
    say_who_is_left_out(&members);
    (if nr_listed == 0 { List::Empty } else { List::Read }, members, parking)
}

/// A line for each reason for which entries are left out, with the first of them.
fn say_who_is_left_out(members: &[Member]) {
    for (index, member) in members.iter().enumerate() {
        let is_told = |other: &Member| core::mem::discriminant(&other.fate) == core::mem::discriminant(&member.fate);
        if matches!(member.fate, Fate::First | Fate::Start { .. }) || members[..index].iter().any(is_told) {
            continue;
        }
        let nr_more = members[index + 1..].iter().filter(|other| is_told(other)).count();
        let verb = if member.fate.is_parked() { "parked" } else { "ignored" };
        let id = shown::by(|f| match member.fate {
            Fate::NoEntry => Ok(()),
            _ => write!(f, " (APIC id {})", member.apic_id),
        });
        let more = shown::by(|f| if nr_more > 0 { write!(f, "; {nr_more} more like it") } else { Ok(()) });
        log!("cpus: entry {}{id} is {verb}: {}{more}", member.place, member.fate);
    }
}

/// Says what is wrong with the list as a whole.
fn complain(response: &Response<'_>, first: u32, is_x2apic: bool, is_listed: bool) {
    if response.nr_told() != response.nr_listed() as u64 {
        let nr_told = Things(response.nr_told(), "CPU");
        log!("cpus: the bootloader lists {nr_told}; {} are looked at", response.nr_listed());
    }
    if response.nr_told() == 0 {
        log!("cpus: the bootloader's list is empty; going on with this one");
    } else if !is_listed {
        log!("cpus: this CPU (APIC id {first}) is not in the bootloader's list");
    }
    if response.first_apic_id() != first {
        log!("cpus: this CPU has APIC id {first}, and the bootloader says {}", response.first_apic_id());
    }
    if response.says_x2apic() != is_x2apic {
        let mode = |is_x2apic| if is_x2apic { Mode::X2Apic } else { Mode::XApic };
        log!("cpus: the APICs are in {}, and the bootloader says {}", mode(is_x2apic), mode(response.says_x2apic()));
    }
}

/// Makes what a CPU needs, and what it is called with.
fn prepare(id: CpuId, apic_id: u32) -> Result<&'static ApStart> {
    let own: &'static Equipment = keep(Equipment::new()?)?;
    let area = new_area(id, apic_id)?;
    let gs_base = core::ptr::from_ref(area) as usize;
    let argument = core::ptr::from_ref(own).cast_mut().cast();
    let identity = Identity::new(apic_id, features());
    let start = ApStart::new(identity, own.stacks.main.top, space::root(), gs_base, boot::other_cpu, argument);
    let start = new_start(start)?;
    // Nothing can fail any more, here or on its way: the others may know of it.
    per_cpu::publish(area);
    Ok(start)
}

/// Puts `value` where it stays for good.
///
/// # Errors
///
/// [`mm::error::Error::OutOfMemory`].
pub fn keep<T>(value: T) -> Result<&'static T> {
    let place: NonNull<T> = HEAP.alloc(Layout::new::<T>())?.cast();
    // SAFETY: fresh memory of the right layout, never freed.
    unsafe {
        place.write(value);
        Ok(place.as_ref())
    }
}

/// Frames for a `T`, for good: at an address of the direct map.
fn frames_for<T>() -> Result<NonNull<T>> {
    const { assert!(align_of::<T>() <= PAGE_SIZE) };
    let frames = HEAP.alloc_run(RunRequest::pages(size_of::<T>().div_ceil(PAGE_SIZE)), Kind::Owned)?;
    Ok(HEAP.frames().virt(frames.start()).cast())
}

/// A CPU's area, for good.
fn new_area(id: CpuId, apic_id: u32) -> Result<&'static PerCpu> {
    let place = frames_for::<PerCpu>()?;
    // SAFETY: frames of ours for good, page-aligned, with room for an area, which the write makes.
    unsafe {
        place.write(PerCpu::new(id, apic_id));
        Ok(place.as_ref())
    }
}

/// What a CPU reads before it has left the bootloader's tables. These know of the direct map, and of no other memory of
/// the heap, such as guarded objects.
fn new_start(start: ApStart) -> Result<&'static ApStart> {
    let place = frames_for::<ApStart>()?;
    // SAFETY: as above, with room for what is written.
    unsafe {
        place.write(start);
        Ok(place.as_ref())
    }
}

/// Waits until everybody who was called is here, or nobody has come for as long as patience lasts.
fn wait_for(members: &[Member], parking: &Parking) {
    let patience_ns = options::cpu_wait_ms().unwrap_or(PATIENCE_MS).saturating_mul(1_000_000);
    let nr_awaited = || {
        let is_starting = |member: &&Member| member.standing() == Some(Standing::Is(State::Starting));
        members.iter().filter(is_starting).count() + parking.nr_awaited()
    };
    let last = Cell::new((nr_awaited(), Deadline::after_ns(patience_ns)));
    machine::wait_until(
        || nr_awaited() == 0,
        || {
            let nr_now = nr_awaited();
            if nr_now < last.get().0 {
                last.set((nr_now, Deadline::after_ns(patience_ns)));
            }
            last.get().1.has_passed()
        },
    );
}

/// Makes sure that no CPU that did not come joins any more, and says which they are.
fn give_up_on_the_rest(members: &[Member]) {
    let mut absent = CpuSet::EMPTY;
    let mut apic_ids: Option<(u32, u32)> = None;
    for member in members {
        let (Some(start), Some(area)) = (member.start, member.cpu().and_then(per_cpu::of)) else { continue };
        if area.state() != State::Starting {
            continue;
        }
        // Revoked, it can only park. If it has claimed its block already it is on its way: a moment more for that one.
        if start.revoke() {
            let deadline = Deadline::after_ns(PATIENCE_MS * 1_000_000);
            let has_come = machine::wait_until(|| area.state() != State::Starting, || deadline.has_passed());
            assert!(has_come, "cpu {} left the bootloader and never came", area.cpu);
            continue;
        }
        area.set_state(State::Failed);
        match member.standing() {
            Some(standing @ Standing::Stranger { .. }) => {
                log!("cpus: cpu {} (APIC id {}) is not there: {}", area.cpu, member.apic_id, standing.reason());
            }
            _ => {
                absent.insert(area.cpu);
                apic_ids = Some((apic_ids.map_or(member.apic_id, |(lowest, _)| lowest), member.apic_id));
            }
        }
    }
    if let Some((lowest, highest)) = apic_ids {
        let to = shown::by(|f| if lowest < highest { write!(f, " to {highest}") } else { Ok(()) });
        log!("cpus: cpu {absent} (APIC id {lowest}{to}) did not come; going on without");
    }
}

/// Sends those to wait for a start-up message that ACPI names and the bootloader does not list: it has lost them, and
/// nobody knows where they are. Returns whether there are such that are enabled.
///
/// Bootloaders start CPUs that are [online-capable](Readiness::OnlineCapable), too (Limine 8 and our own do), so one of
/// these may have been lost as well, and is sent an INIT, which nobody minds where nobody is. But most of them are empty
/// seats, on machines that could take more CPUs. They forbid no interrupt to all others: whoever sits there waits for a
/// start-up message, of which it is told by nothing else (Intel SDM volume 3, "Wait-for-SIPI"). NMIs are sent one by one.
/// Entries with neither flag, as QEMU's for seats that are free, are not in the list.
fn stop_unlisted(members: &[Member], first: u32) -> core::result::Result<bool, Held> {
    let is_known = |member: &&Member| member.fate != Fate::NoEntry;
    let nr_enabled = devices::get().map_or(0, |devices| devices.cpus.nr_enabled());
    let Some(in_tables) = devices::get().and_then(|devices| devices.cpus.all()).filter(|_| nr_enabled > 0) else {
        // Nobody to ask, since a table that enables nobody is wrong: then the list has to be believed, if it is one that can be.
        let can_be = !members.is_empty() && members.iter().all(|member| !member.fate.is_flaw());
        return if can_be { Ok(true) } else { Err(Held::Unknown) };
    };
    let (mut nr_stopped, mut nr_out_of_reach, mut nr_capable) = (0, 0, 0);
    for &Cpu { apic_id, readiness } in in_tables {
        let is_listed = members.iter().filter(is_known).any(|member| member.apic_id == apic_id);
        if apic_id == first || is_listed {
            continue;
        }
        // SAFETY: not the first CPU, and none that runs the kernel: those are all listed, by the APIC ids that they have
        // compared with their own.
        let sent = machine::apic().map(|apic| unsafe { apic.send_init(apic_id) });
        match (sent, readiness) {
            (Some(Ok(_)), Readiness::Enabled) => nr_stopped += 1,
            (Some(Ok(_)), Readiness::OnlineCapable) => nr_capable += 1,
            // One that this mode cannot name was not started in it either.
            (Some(Err(SendError::DestinationTooWide { .. })), Readiness::Enabled) => nr_out_of_reach += 1,
            (Some(Err(SendError::DestinationTooWide { .. })), Readiness::OnlineCapable) => {}
            _ => return Err(Held::NotStopped { apic_id }),
        }
    }
    if nr_out_of_reach > 0 {
        log!(
            "cpus: {nr_out_of_reach} that ACPI names have APIC ids that xAPIC mode cannot name, and stay where they are"
        );
    }
    if nr_stopped > 0 {
        log!("cpus: {nr_stopped} that ACPI names and the bootloader does not list are stopped");
    }
    if nr_capable > 0 {
        log!("cpus: {nr_capable} more that ACPI calls online-capable are stopped, if they are there");
    }
    if nr_stopped + nr_capable > 0 {
        let deadline = Deadline::after_ns(INIT_NS);
        machine::wait_until(|| false, || deadline.has_passed());
    }
    Ok(nr_stopped + nr_out_of_reach > 0)
}
