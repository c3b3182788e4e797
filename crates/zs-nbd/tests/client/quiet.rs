//! What a test's device does that the test is not about.

/// Defines the methods of a `Device` that change something, none of which does anything.
macro_rules! changes_nothing {
    () => {
        fn write(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
            Ok(())
        }
        fn write_zeroes(&self, _: u64, _: u64, _: Space) -> Result<(), Errno> {
            Ok(())
        }
        fn trim(&self, _: u64, _: u64) -> Result<(), Errno> {
            Ok(())
        }
    };
}
