//! The numbers of all processes.

use super::proc_dir::{ProcDir, Stat};
use crate::error::Error;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::process;

/// Checks that `/proc` is mounted.
pub(crate) fn check_proc_is_mounted() -> Result<(), Error> {
    let found = fs::symlink_metadata("/proc/self");
    found.map(|_| ()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NoProc,
        _ => Error::Proc(error),
    })
}

/// Checks that `/proc` belongs to the pid namespace of this process.
pub(super) fn check_proc() -> Result<(), Error> {
    check_proc_is_mounted()?;
    let own = fs::read_link("/proc/self").map_err(Error::Proc)?;
    if own.to_str() == Some(&process::id().to_string()) {
        Ok(())
    } else {
        Err(Error::OtherProc)
    }
}

/// Returns the numbers of all processes, in ascending order.
///
/// # Errors
/// [`Error::NoProc`] or [`Error::Proc`] if `/proc` cannot be listed.
pub fn all_processes() -> Result<Vec<u32>, Error> {
    check_proc_is_mounted()?;
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").map_err(Error::Proc)? {
        let name = entry.map_err(Error::Proc)?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// Returns all descendants of a process, its children first.
pub(super) fn descendants(of: u32) -> Result<Vec<(u32, Stat)>, Error> {
    let mut by_parent: HashMap<u32, Vec<(u32, Stat)>> = HashMap::new();
    for pid in all_processes()? {
        // A process that has ended meanwhile is left out.
        if let Ok((_, stat)) = ProcDir::of_process(pid) {
            by_parent.entry(stat.parent).or_default().push((pid, stat));
        }
    }
    let mut found = by_parent.remove(&of).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        let children = by_parent.remove(&found[next].0);
        found.extend(children.unwrap_or_default());
        next += 1;
    }
    Ok(found)
}
