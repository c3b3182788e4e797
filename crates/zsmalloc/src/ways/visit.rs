//! Every object of a handle table.

use crate::client::Client;
use crate::error::Error;
use crate::handle_table::{Handle, HandleTable};
use crate::ids::WordIndex;
use crate::pool::Pool;
use crate::ways::read::ReadGuard;
use crate::word::{State, Word};
use zs_mm::ArenaRef;
use zs_sync::Ordering;

impl<A: ArenaRef> Pool<A, HandleTable> {
    /// Calls `visit` with every object that can be read, in no order that means anything; returns
    /// how many could not (mapped for writing, or full of readers).
    ///
    /// An object that lives throughout is visited once, whatever else goes on; one that is inserted
    /// or freed meanwhile, at most once. `visit` may use the pool, and free the object it is given.
    /// Looks at every word that the table ever had.
    pub fn for_each(&self, mut visit: impl FnMut(Handle, ReadGuard<'_, A, HandleTable>)) -> u64 {
        let mut skipped = 0;
        for index in (0..self.client.words()).map(WordIndex::new) {
            let Some(cell) = self.cell(index) else {
                break;
            };
            // Relaxed: `read` looks again.
            let word = Word(cell.load(Ordering::Relaxed));
            if !matches!(word.state(), State::Live | State::Exclusive | State::Mapped) {
                continue;
            }
            let Some(handle) = self.client.handle(index, word) else {
                continue;
            };
            match self.read(handle) {
                Ok(guard) => visit(handle, guard),
                Err(Error::Busy) => skipped += 1,
                Err(_) => {}
            }
        }
        skipped
    }
}
