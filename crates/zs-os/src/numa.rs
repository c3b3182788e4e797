//! The memory nodes of the machine, and the binding of a range of memory to one of them.
//!
//! Linux lists the nodes that have memory in a file, for example `0-1,4`. A machine without that
//! file has one node, 0. A range is bound by `mbind` before any of it is committed.

use core::fmt::Debug;
use core::ops::RangeInclusive;
use core::ptr::NonNull;
use rustix::io::Errno;
use zs_mm::ZoneRefusal;

const HAS_MEMORY: &str = "/sys/devices/system/node/has_memory";

/// The most nodes of any Linux (`CONFIG_NODES_SHIFT` is at most 10).
const MOST_NODES: usize = 1024;

/// The calls to the machine. A trait, so that tests can make up a machine with several nodes.
pub(crate) trait Numa: Debug + Send + Sync {
    /// Returns the list of nodes that have memory, as Linux writes it.
    fn nodes(&self) -> String;

    /// Binds a range to a node: its memory comes from that node only.
    ///
    /// # Safety
    /// The range is page-aligned, mapped, and the caller's.
    unsafe fn bind(&self, base: NonNull<u8>, len: usize, node: u32) -> Result<(), Errno>;
}

/// The real machine.
#[derive(Debug)]
pub(crate) struct ThisMachine;

impl Numa for ThisMachine {
    fn nodes(&self) -> String {
        std::fs::read_to_string(HAS_MEMORY).unwrap_or_else(|_| "0".to_owned())
    }

    unsafe fn bind(&self, base: NonNull<u8>, len: usize, node: u32) -> Result<(), Errno> {
        let mut mask = [0_u64; MOST_NODES / 64];
        let word = mask.get_mut(node as usize / 64).ok_or(Errno::INVAL)?;
        *word = 1 << (node % 64);
        // SAFETY: 1. By contract the range is the caller's; a policy changes no contents. 2. The
        // mask has a bit for each node; the kernel takes one less than it is told.
        let outcome = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                base.as_ptr(),
                len,
                libc::MPOL_BIND,
                mask.as_ptr(),
                MOST_NODES + 1,
                0,
            )
        };
        match outcome {
            0 => Ok(()),
            _ => {
                Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
            }
        }
    }
}

/// Checks that a node has memory, so that a zone may be on it.
pub(crate) fn check(numa: &dyn Numa, node: u32) -> Result<(), ZoneRefusal> {
    let nodes = numa.nodes();
    if ranges(&nodes).any(|range| range.contains(&node)) {
        Ok(())
    } else {
        Err(ZoneRefusal::Node)
    }
}

/// Binds a range to a node. Makes no call if it is the only node: the kernel may not support nodes
/// then.
///
/// # Safety
/// The contract of [`Numa::bind`].
pub(crate) unsafe fn bind(
    numa: &dyn Numa,
    base: NonNull<u8>,
    len: usize,
    node: u32,
) -> Result<(), ZoneRefusal> {
    let nodes = numa.nodes();
    if ranges(&nodes).eq([node..=node]) {
        return Ok(());
    }
    // SAFETY: by contract.
    match unsafe { numa.bind(base, len, node) } {
        Ok(()) => Ok(()),
        // The node has memory, but not for this process, because of a cpuset.
        Err(Errno::INVAL) => Err(ZoneRefusal::Node),
        Err(_) => Err(ZoneRefusal::System),
    }
}

/// Returns the ranges of a list of nodes. Malformed ranges are left out.
fn ranges(list: &str) -> impl Iterator<Item = RangeInclusive<u32>> {
    list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::short_lock::short_lock;
    use std::sync::Mutex;

    /// A made-up machine for tests. It keeps a list of the bound ranges.
    #[derive(Debug)]
    pub(crate) struct FakeMachine {
        pub(crate) nodes: &'static str,
        pub(crate) answer: Result<(), Errno>,
        pub(crate) bound: Mutex<Vec<(usize, usize, u32)>>,
    }

    impl FakeMachine {
        pub(crate) const fn new(nodes: &'static str, answer: Result<(), Errno>) -> Self {
            Self {
                nodes,
                answer,
                bound: Mutex::new(Vec::new()),
            }
        }
    }

    impl Numa for FakeMachine {
        fn nodes(&self) -> String {
            self.nodes.to_owned()
        }

        unsafe fn bind(&self, base: NonNull<u8>, len: usize, node: u32) -> Result<(), Errno> {
            short_lock(&self.bound).push((base.addr().get(), len, node));
            self.answer
        }
    }

    fn bind_to(machine: &FakeMachine, node: u32) -> Result<(), ZoneRefusal> {
        check(machine, node)?;
        // SAFETY: a made-up machine looks at no memory.
        unsafe { bind(machine, NonNull::dangling(), 4096, node) }
    }

    #[test]
    fn lists_of_nodes_are_read() {
        let read = |list| ranges(list).collect::<Vec<_>>();
        assert_eq!(read("0\n"), [0..=0]);
        assert_eq!(read("0-1,4\n"), [0..=1, 4..=4]);
        assert_eq!(read("\n"), []);
        assert_eq!(read("0-x,-,3"), [3..=3]);
    }

    #[test]
    fn one_node_needs_no_binding_and_there_is_no_other() {
        let machine = FakeMachine::new("0\n", Err(Errno::NOSYS));
        assert_eq!(bind_to(&machine, 0), Ok(()));
        assert_eq!(bind_to(&machine, 7), Err(ZoneRefusal::Node));
        assert_eq!(*short_lock(&machine.bound), []);
    }

    #[test]
    fn of_several_nodes_the_one_asked_for_is_bound() {
        let machine = FakeMachine::new("0-1,4\n", Ok(()));
        for (node, outcome) in [(4, Ok(())), (2, Err(ZoneRefusal::Node)), (1, Ok(()))] {
            assert_eq!(bind_to(&machine, node), outcome, "node {node}");
        }
        let bound = short_lock(&machine.bound)
            .iter()
            .map(|bound| bound.2)
            .collect::<Vec<_>>();
        assert_eq!(bound, [4, 1]);
    }

    #[test]
    fn what_the_system_refuses_is_an_error() {
        for (errno, refusal) in [
            (Errno::INVAL, ZoneRefusal::Node),
            (Errno::PERM, ZoneRefusal::System),
            (Errno::NOMEM, ZoneRefusal::System),
        ] {
            let machine = FakeMachine::new("0-1\n", Err(errno));
            assert_eq!(bind_to(&machine, 1), Err(refusal));
        }
    }

    #[test]
    fn this_machine_has_a_node_and_binds_to_it() {
        let nodes = ThisMachine.nodes();
        let node = ranges(&nodes).next().map(|range| *range.start());
        let node = node.expect("a node with memory");
        let len = crate::os_page_size();
        let read_write = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        let base = crate::map::reserve(read_write, len, len);
        let base = base.expect("address space");
        // SAFETY: the range was just made, and is ours.
        let bound = unsafe { ThisMachine.bind(base, len, node) };
        // A kernel without nodes, or a container that forbids the call, is fine too.
        assert!(
            matches!(bound, Ok(()) | Err(Errno::NOSYS | Errno::PERM)),
            "{bound:?}"
        );
        // SAFETY: as above.
        let nowhere =
            unsafe { ThisMachine.bind(base, len, u32::try_from(MOST_NODES).expect("1024")) };
        assert_eq!(nowhere, Err(Errno::INVAL));
        // SAFETY: nobody uses the range any more.
        unsafe { crate::map::release(base, len) };
    }
}
