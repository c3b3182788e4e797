//! The strict backing kills a process that touches memory which is not committed. Tested with child
//! processes.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use zs_mm::{Backing, RegionKind};
use zs_os::testing::StrictBacking;

const CHILD: &str = "ZS_OS_STRICT_CHILD";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touch {
    Read,
    Write,
}

/// Touches the second granule of a region, before or after a commit and a decommit.
fn touch(kind: RegionKind, touch: Touch, given_back: bool) {
    let backing = StrictBacking::new();
    let granule = backing.granule();
    let base = backing
        .reserve(kind, 4 * granule, granule)
        .expect("address space");
    // SAFETY: inside the region.
    let second = unsafe { base.add(granule) };
    if given_back {
        // SAFETY: a granule of the region.
        unsafe { backing.commit(kind, second, granule) }.expect("memory");
        // SAFETY: committed.
        unsafe { second.write_volatile(1) };
        // SAFETY: a granule of the region.
        unsafe { backing.decommit(kind, second, granule) }.expect("given back");
    }
    match touch {
        // SAFETY: none: this is the fault that is looked for (or the read of a table).
        Touch::Read => assert_eq!(unsafe { second.read_volatile() }, 0),
        // SAFETY: none: this is the fault that is looked for.
        Touch::Write => unsafe { second.write_volatile(1) },
    }
}

const CASES: [(RegionKind, Touch, bool); 8] = {
    use RegionKind::{Payload, Table};
    use Touch::{Read, Write};
    [
        (Payload, Read, false),
        (Payload, Write, false),
        (Payload, Read, true),
        (Payload, Write, true),
        (Table, Read, false),
        (Table, Write, false),
        (Table, Read, true),
        (Table, Write, true),
    ]
};

#[test]
fn touching_what_is_not_committed_faults() {
    if let Ok(case) = std::env::var(CHILD) {
        let (kind, how, given_back) = CASES[case.parse::<usize>().expect("a number")];
        touch(kind, how, given_back);
        return;
    }
    for (number, case) in CASES.iter().enumerate() {
        let output = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "touching_what_is_not_committed_faults"])
            .env(CHILD, number.to_string())
            .output()
            .expect("a child");
        let allowed = case.0 == RegionKind::Table && case.1 == Touch::Read;
        if allowed {
            assert!(output.status.success(), "{case:?}: {output:?}");
        } else {
            // A sanitizer turns the signal into an exit code of its own.
            let faulted =
                output.status.signal() == Some(11) || std::env::var_os("ZS_SANITIZER").is_some();
            assert!(faulted && !output.status.success(), "{case:?}: {output:?}");
        }
    }
}
