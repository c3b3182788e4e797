//! The page size of the operating system.

/// Returns the page size of the operating system in bytes: 4, 16 or 64 KiB. Never blocks.
pub fn os_page_size() -> usize {
    rustix::param::page_size()
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_what_sysconf_says() {
        // SAFETY: `sysconf` only reads.
        let expected = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        assert_eq!(super::os_page_size() as i64, expected);
    }
}
