//! The store's streams: lent to its threads, and counted in its limit; and the frames kept for the
//! limit.

use crate::block::content::MAX_PRIORITY;
use crate::codecs::Codec;
use crate::error::Error;
use crate::ids::as_index;
use crate::ids::wide;
use crate::store::Store;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use zcomp::{Algorithm, Dictionary, Stream, Streams};
use zs_mm::Backing;

/// The share of the limit that streams beyond the first ones may take.
const SHARE: u64 = 16;

/// Frames that are kept for recompression, and for parts of blocks that are zeroed, as long as they
/// are no more than this share of the limit, but for the least number: smaller objects lie in
/// frames of their own before the larger ones leave any.
const RESERVED_FRAMES: u64 = 64;
const RESERVED_SHARE: u64 = 64;
const RESERVED_LEAST: u64 = 2;

impl<B: Backing> Store<B> {
    /// Sets an algorithm, once and for all. Its first stream is made before it is counted.
    pub(crate) fn set_codec(
        &self,
        number: u8,
        algorithm: Algorithm,
        dictionary: Option<Dictionary>,
    ) -> Result<(), Error> {
        let codecs = &self.codecs;
        let slot = codecs.slots.get(as_index(number)).ok_or_else(|| {
            Error::Invalid(format!(
                "priority {number}: 1 to {MAX_PRIORITY} are allowed"
            ))
        })?;
        let is_set =
            || Error::Busy("this priority has its algorithm, which stored blocks may need");
        if slot.get().is_some() {
            return Err(is_set());
        }
        let (block, threads) = (self.block_size(), codecs.threads);
        let streams = Streams::with_dictionary(algorithm, block, threads, dictionary.as_ref())?;
        let dictionary_bytes = dictionary.as_ref().map_or(0, Dictionary::memory);
        let bytes = streams.stream_bytes() + dictionary_bytes;
        let charge = self.arena().charge(wide(bytes))?;
        let codec = Codec {
            algorithm,
            dictionary,
            streams,
        };
        if slot.set(codec).is_err() {
            self.arena().uncharge(charge);
            return Err(is_set());
        }
        codecs.counted().charges.push(charge);
        self.reserve_frames();
        Ok(())
    }

    /// Counts some frames that nobody has, so that there is room for smaller objects at the limit.
    /// If there is no room for them, whoever could use them tries again.
    pub(crate) fn reserve_frames(&self) {
        let mut counted = self.codecs.counted();
        if counted.reserve.is_none() {
            let frame = wide(self.block_size());
            let share = self.limit() / RESERVED_SHARE;
            let bytes = share.clamp(RESERVED_LEAST * frame, RESERVED_FRAMES * frame);
            counted.reserve = self.arena().charge(bytes).ok();
        }
        let lacks = counted.reserve.is_none();
        // Relaxed: a hint. Under the lock, so that it is of the last who looked.
        self.codecs.lacks_reserve.store(lacks, Ordering::Relaxed);
        drop(counted);
    }

    /// Counts these frames again if they were used up: for those who have freed memory, before
    /// others take it.
    pub(crate) fn refill_reserve(&self) {
        if self.codecs.lacks_reserve.load(Ordering::Relaxed) {
            self.reserve_frames();
        }
    }

    /// Gives these frames free; false if there are none. Who uses them counts them again afterwards
    /// ([`reserve_frames`](Self::reserve_frames)): before that nobody else does.
    pub(crate) fn use_reserve(&self) -> bool {
        let reserve = self.codecs.counted().reserve.take();
        reserve
            .map(|charge| self.arena().uncharge(charge))
            .is_some()
    }

    /// Returns a stream of this algorithm, lent to the calling thread; it holds one at a time.
    pub(crate) fn stream(&self, number: u8) -> Result<MutexGuard<'_, Stream>, Error> {
        let codec = self.codecs.get(number).ok_or_else(|| {
            Error::Invalid(format!("no algorithm has priority {number}: set one first"))
        })?;
        Ok(codec.streams.lock_if(|bytes| self.may_grow(wide(bytes))))
    }

    /// Counts one stream more; false if there are enough.
    #[cold]
    fn may_grow(&self, bytes: u64) -> bool {
        let mut counted = self.codecs.counted();
        if counted.grown + bytes > self.limit() / SHARE {
            return false;
        }
        // Streams without memory of their own need no charge.
        if bytes > 0 {
            match self.arena().charge(bytes) {
                Ok(charge) => counted.charges.push(charge),
                Err(_) => return false,
            }
        }
        counted.grown += bytes;
        true
    }
}
