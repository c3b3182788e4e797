//! The store's algorithms: the primary one, and up to three to recompress with.

use crate::content::MAX_PRIORITY;
use crate::error::Error;
use std::num::NonZeroUsize;
use std::sync::{MutexGuard, OnceLock};
use zcomp::{Algorithm, Dictionary, Stream, Streams};

/// One algorithm with its streams. Fixed once set: stored blocks are read by it.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) algorithm: Algorithm,
    pub(crate) dictionary: Option<Dictionary>,
    streams: Streams,
}

#[derive(Debug)]
pub(crate) struct Codecs {
    slots: [OnceLock<Codec>; MAX_PRIORITY as usize + 1],
    block: usize,
    threads: NonZeroUsize,
}

impl Codecs {
    pub(crate) fn new(block: usize, threads: Option<NonZeroUsize>) -> Self {
        let threads = threads
            .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        Self {
            slots: [const { OnceLock::new() }; 4],
            block,
            threads,
        }
    }

    pub(crate) fn set(
        &self,
        number: u8,
        algorithm: Algorithm,
        dictionary: Option<Dictionary>,
    ) -> Result<(), Error> {
        let slot = self.slots.get(number as usize).ok_or_else(|| {
            Error::Invalid(format!(
                "priority {number}: 1 to {MAX_PRIORITY} are allowed"
            ))
        })?;
        let streams =
            Streams::with_dictionary(algorithm, self.block, self.threads, dictionary.as_ref())?;
        let codec = Codec {
            algorithm,
            dictionary,
            streams,
        };
        slot.set(codec).map_err(|_| {
            Error::Busy("this priority has its algorithm, which stored blocks may need")
        })
    }

    pub(crate) fn get(&self, number: u8) -> Option<&Codec> {
        self.slots.get(number as usize)?.get()
    }

    /// The highest secondary algorithm, 0 if there is none.
    pub(crate) fn highest(&self) -> u8 {
        (1..=MAX_PRIORITY)
            .rev()
            .find(|number| self.get(*number).is_some())
            .unwrap_or(0)
    }

    /// A stream of this algorithm, lent to the calling thread; it holds one at a time.
    pub(crate) fn stream(&self, number: u8) -> Result<MutexGuard<'_, Stream>, Error> {
        let codec = self.get(number).ok_or_else(|| {
            Error::Invalid(format!("no algorithm has priority {number}: set one first"))
        })?;
        Ok(codec.streams.lock())
    }
}
