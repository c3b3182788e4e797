//! Which frames an object lies in.

use crate::client::Client;
use crate::error::Error;
use crate::pool::Pool;
use zs_mm::{ArenaRef, FrameId};

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Returns the frames that an object lies in, in order: one, or two if it spans a boundary. For
    /// lists of frames to be moved ([`Arena::migrate_pages`](zs_mm::Arena::migrate_pages)), to a
    /// faster zone for instance.
    ///
    /// Of this moment: frames and objects may be moved at any time. Other objects lie in the same
    /// frames.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn frames_of(&self, key: C::Key) -> Result<(FrameId, Option<FrameId>), Error> {
        Ok(self.read(key)?.frames(self.geometry.page_size()))
    }
}
