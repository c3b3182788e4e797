//! Errors of watching memory pressure, and their remedies.

use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::trigger::StallTrigger;

/// The reason why memory pressure cannot be watched, or not any longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PressureError {
    /// A time is too short or too long.
    #[error("{what} of {given:?}: {least:?} to {most:?} is allowed")]
    OutOfBounds {
        /// The name of the time.
        what: &'static str,
        /// The given value.
        given: Duration,
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// The folder of a group does not exist.
    #[error("{group}: no such group; own_cgroup() finds the one of this process")]
    NoGroup {
        /// The folder.
        group: PathBuf,
    },
    /// A folder is not a version 2 control group.
    #[error(
        "{group}: not a folder of a cgroup2 mount; groups of version 1 cannot be watched: \
         boot with systemd.unified_cgroup_hierarchy=1, or watch the system"
    )]
    NotCgroup2 {
        /// The folder.
        group: PathBuf,
    },
    /// The kernel keeps no pressure stall information, or not for this group.
    #[error(
        "{path}: no pressure stall information; the kernel needs CONFIG_PSI, psi=1 on its command line \
         where that is off by default, and a group 1 in its cgroup.pressure"
    )]
    NoPsi {
        /// The file.
        path: PathBuf,
    },
    /// The group has no memory controller.
    #[error(
        "{path}: no such file; write +memory to cgroup.subtree_control of the group above \
         (the root has no memory.events, and version 1 may hold the controller)"
    )]
    NoMemoryController {
        /// The file.
        path: PathBuf,
    },
    /// The process has no permission to open the file.
    #[error(
        "{path}: no permission; a group's owner has it (systemd: Delegate=yes), and for the system's \
         file before Linux 6.4, whoever has CAP_SYS_RESOURCE"
    )]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// The kernel refuses the trigger.
    #[error(
        "{path}: trigger `{trigger}` refused; without CAP_SYS_RESOURCE the window must be a multiple \
         of 2 s, such as the default, and the kernel Linux 6.4 or later"
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// The trigger.
        trigger: StallTrigger,
    },
    /// The group was removed.
    #[error("{path}: the group was removed")]
    GroupRemoved {
        /// The file.
        path: PathBuf,
    },
    /// The file has not the format of Linux.
    #[error("{path}: not understood: {text:?}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its text, cut after 200 characters.
        text: String,
    },
    /// Another error of the system about the file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system refuses the thread, or the event file that it waits with.
    #[error("the watching thread: {0}")]
    Thread(#[source] io::Error),
}

impl PressureError {
    /// Makes the error of a failed call on a file. `missing` makes the error for an absent file.
    pub(super) fn of_file(path: &Path, source: io::Error, missing: fn(PathBuf) -> Self) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            // A kernel without the feature returns either error.
            Some(Errno::NOENT | Errno::OPNOTSUPP) => missing(path),
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied { path },
            Some(Errno::NODEV) => Self::GroupRemoved { path },
            _ => Self::File { path, source },
        }
    }

    pub(super) fn no_group(group: PathBuf) -> Self {
        Self::NoGroup { group }
    }

    pub(super) fn no_psi(path: PathBuf) -> Self {
        Self::NoPsi { path }
    }

    pub(super) fn no_controller(path: PathBuf) -> Self {
        Self::NoMemoryController { path }
    }
}

/// Checks that a time is within its bounds.
pub(super) fn require_within(
    what: &'static str,
    given: Duration,
    [least, most]: [Duration; 2],
) -> Result<(), PressureError> {
    if (least..=most).contains(&given) {
        Ok(())
    } else {
        Err(PressureError::OutOfBounds {
            what,
            given,
            least,
            most,
        })
    }
}
