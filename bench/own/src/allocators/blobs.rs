//! What an allocator must do to be measured.

use anyhow::Result;

/// An allocator that keeps blobs, shared by threads.
pub trait Blobs: Sync {
    /// What a blob is found again by, with its length where the allocator does not know it. Only
    /// the thread that stored a blob uses its name.
    type Name: Copy + Send;

    /// A name that is none: it fills tables before there are blobs.
    const NO_NAME: Self::Name;

    /// Stores a copy. `number` is that of the place in the caller's tables, for an allocator whose
    /// words lie there.
    ///
    /// # Errors
    /// If there is no memory.
    fn store(&self, number: u32, bytes: &[u8]) -> Result<Self::Name>;

    /// Copies a blob into the start of `buffer`, a page; returns its length.
    ///
    /// # Errors
    /// If the allocator does not find it.
    fn load(&self, name: Self::Name, buffer: &mut [u8]) -> Result<usize>;

    /// Copies many blobs, one after the other, into the start of `buffer`; returns the sum of their
    /// lengths.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    fn load_many(&self, names: &[Self::Name], buffer: &mut [u8]) -> Result<usize> {
        let load = |sum, &name| Ok(sum + self.load(name, buffer)?);
        names.iter().try_fold(0, load)
    }

    /// Frees a blob.
    ///
    /// # Errors
    /// If the allocator does not find it.
    fn free(&self, name: Self::Name) -> Result<()>;

    /// Gives up what the calling thread alone keeps, where an allocator has such things.
    fn flush_thread(&self) {}

    /// Gives memory back to the system, after every thread has flushed its own.
    fn purge(&self) {}
}
