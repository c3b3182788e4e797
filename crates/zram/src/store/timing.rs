//! Requests timed.

use crate::counters::histogram::Timed;
use crate::error::Error;
use crate::store::Store;
use zs_mm::Backing;

impl<B: Backing> Store<B> {
    /// Counts how long a request took by the host's clock, if it was answered.
    pub(crate) fn timed<T>(
        &self,
        what: Timed,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let host = self.arena().host();
        let start = host.now_ns();
        let result = run()?;
        self.counters
            .took(what, host.now_ns().saturating_sub(start));
        Ok(result)
    }
}
