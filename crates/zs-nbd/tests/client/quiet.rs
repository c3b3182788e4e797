//! Methods of test devices that a test does not use.

/// Defines the methods of a `Device` that change it, without effect.
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
