//! Machines whose CPUs have APIC ids of one's choice: `apic-ids=0,261,512,513`.
//!
//! QEMU numbers CPUs by where they sit: socket, then core, in as many bits as the cores of a socket need. So each id is a
//! seat of a large machine in which all other seats are empty, and its CPU is plugged in on the command line. The first
//! seat is always taken, by the CPU with id 0.

use std::collections::BTreeSet;

/// Most seats that QEMU's q35 has.
const MAX_SEATS: u32 = 4096;

/// A machine with such CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApicIds(Vec<u32>);

impl ApicIds {
    /// Reads ids separated by commas; nothing for a machine whose ids QEMU chooses. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self::default());
        }
        let ids: Vec<u32> = text.split(',').map(|id| id.trim().parse().ok()).collect::<Option<_>>()?;
        let is_seat = |id: &u32| *id < MAX_SEATS;
        let is_set = ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
        (is_set && ids.first() == Some(&0) && ids.iter().all(is_seat)).then_some(Self(ids))
    }

    /// How many CPUs that are, if ids were chosen.
    pub fn nr_cpus(&self) -> Option<u32> {
        (!self.0.is_empty()).then_some(self.0.len() as u32)
    }

    /// QEMU's arguments for them, with CPUs of this model (`max,-x2apic`); none if no ids were chosen.
    pub fn arguments(&self, cpu: &str) -> Vec<String> {
        let Some(&highest) = self.0.iter().max() else { return Vec::new() };
        let model = cpu.split(',').next().unwrap_or(cpu);
        // Sockets of 256 cores, or of as few as keep the machine small: with 129 a core takes eight bits as well.
        let nr_cores = self.0.iter().map(|id| (id & 0xff) + 1).fold(129, u32::max);
        let nr_sockets = (highest >> 8) + 1;
        let smp = format!("1,maxcpus={},sockets={nr_sockets},cores={nr_cores},threads=1", nr_sockets * nr_cores);
        let plugged = self.0[1..].iter().flat_map(|id| {
            let seat = format!("socket-id={},core-id={},thread-id=0", id >> 8, id & 0xff);
            ["-device".to_string(), format!("{model}-x86_64-cpu,{seat}")]
        });
        ["-smp".to_string(), smp].into_iter().chain(plugged).collect()
    }
}

/// As it was given.
impl std::fmt::Display for ApicIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_seats() {
        let ids = ApicIds::parse("0,261,512,513").unwrap();
        assert_eq!(ids.nr_cpus(), Some(4));
        assert_eq!(ids.to_string(), "0,261,512,513");
        assert_eq!(
            ids.arguments("max,-x2apic").join(" "),
            "-smp 1,maxcpus=387,sockets=3,cores=129,threads=1 \
             -device max-x86_64-cpu,socket-id=1,core-id=5,thread-id=0 \
             -device max-x86_64-cpu,socket-id=2,core-id=0,thread-id=0 \
             -device max-x86_64-cpu,socket-id=2,core-id=1,thread-id=0"
        );
        assert!(ApicIds::parse("0,255").unwrap().arguments("max")[1].contains("sockets=1,cores=256"));
    }

    #[test]
    fn no_ids_are_no_arguments() {
        let none = ApicIds::parse("").unwrap();
        assert_eq!((none.nr_cpus(), none.arguments("max").len(), none.to_string()), (None, 0, String::new()));
    }

    #[test]
    fn what_cannot_be_a_machine_is_refused() {
        for text in ["1,2", "0,0", "0,4096", "0,", "0,x", "0;1", "-1"] {
            assert_eq!(ApicIds::parse(text), None, "{text}");
        }
    }
}
