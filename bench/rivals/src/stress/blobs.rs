//! What a store of blobs must do.

use anyhow::Result;

/// A store of blobs, shared by threads.
pub(super) trait Blobs: Sync {
    /// What a blob is named by. The worker that made a blob is the only one that uses its name,
    /// until it has freed it.
    type Name: Copy + Send;

    /// Stores a copy.
    fn store(&self, bytes: &[u8]) -> Result<Self::Name>;

    /// Shows a blob of `len` bytes.
    fn show(
        &self,
        name: Self::Name,
        len: usize,
        see: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<()>;

    /// Shows a blob of `len` bytes, which may be changed.
    fn change(
        &self,
        name: Self::Name,
        len: usize,
        change: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()>;

    /// Frees a blob.
    fn free(&self, name: Self::Name) -> Result<()>;
}
