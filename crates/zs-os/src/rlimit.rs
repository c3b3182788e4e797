//! Resource limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns the limit of this process's address space in bytes (`RLIMIT_AS`), or `None` if there is
/// none.
pub fn address_space() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// Raises the limit of open files to `wanted`, as far as the hard limit allows. Returns the limit
/// afterwards. Never lowers it.
pub fn raise_open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if now >= wanted || now >= most {
        return now;
    }
    let raised = wanted.min(most);
    let new = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, new) {
        Ok(()) => raised,
        Err(_) => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_raised_as_far_as_is_allowed() {
        let now = raise_open_files(0);
        assert!(now > 0);
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let wanted = (now + 1).min(most);
        assert_eq!(raise_open_files(wanted), wanted.max(now));
        assert!(raise_open_files(u64::MAX) >= wanted);
    }
}
