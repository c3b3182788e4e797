//! Buffers of a thread: for a block, for its compressed form, for an object that spans frames.

use crate::error::Error;
use std::cell::Cell;

#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) block: Vec<u8>,
    pub(crate) coded: Vec<u8>,
    pub(crate) joined: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Runs with this thread's buffers, each `len` bytes long; within another such call with new ones.
///
/// # Errors
/// [`Error::NoMemory`] if the thread has none yet, and the system has no memory for them; those of
/// `run`.
pub(crate) fn with_scratch<T>(
    len: usize,
    run: impl FnOnce(&mut Scratch) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    for buffer in [&mut scratch.block, &mut scratch.coded, &mut scratch.joined] {
        // Of threads that use stores with different blocks; the memory of the longest stays.
        if buffer.len() != len {
            let more = len.saturating_sub(buffer.len());
            buffer
                .try_reserve_exact(more)
                .map_err(|_| Error::NoMemory)?;
            buffer.resize(len, 0);
        }
    }
    let result = run(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}
