//! An arena for tests: heap memory, faults and a clock by hand.

use crate::driver::Environment;
use zs_mm::{Arena, ArenaOptions, Error, PageSize};
use zs_os::testing::{Call, Fault, FaultBacking, FaultControl, HeapBacking, TestHost};

/// An arena of heap memory, whose backing panics if it is called with a lock held.
pub type TestArena = Arena<FaultBacking<HeapBacking>>;

/// The levers of a [`TestArena`].
#[derive(Debug, Clone)]
pub struct World {
    /// Fails calls of the backing, and counts them.
    pub faults: FaultControl,
    /// The clock, and the CPU.
    pub host: &'static TestHost,
}

impl World {
    /// Makes an arena of `page` frames that holds at most `limit` bytes, committed by `granule`.
    ///
    /// # Errors
    /// As for [`Arena::new`].
    pub fn arena(page: PageSize, limit: u64, granule: usize) -> Result<(TestArena, Self), Error> {
        let options = ArenaOptions {
            page_size: page,
            ..ArenaOptions::new(limit)
        };
        Self::with_options(options, granule)
    }

    /// Makes an arena with these options.
    ///
    /// # Errors
    /// As for [`Arena::new`].
    pub fn with_options(options: ArenaOptions, granule: usize) -> Result<(TestArena, Self), Error> {
        Self::with_fault(options, granule, Call::Commit, Fault::Never)
    }

    /// Makes an arena whose calls fail from the start.
    ///
    /// # Errors
    /// As for [`Arena::new`].
    pub fn with_fault(
        options: ArenaOptions,
        granule: usize,
        call: Call,
        fault: Fault,
    ) -> Result<(TestArena, Self), Error> {
        let backing = FaultBacking::new(HeapBacking::new(granule));
        let world = Self {
            faults: backing.control(),
            host: TestHost::leak(0),
        };
        world.faults.set(call, fault);
        let arena = Arena::new(backing, world.host, options)?;
        Ok((arena, world))
    }

    fn fail(&self, call: Call, after: u64, lasting: bool) {
        let fault = if lasting {
            Fault::From(after + 1)
        } else {
            Fault::Nth(after + 1)
        };
        self.faults.set(call, fault);
    }
}

impl Environment for World {
    fn fail_commits(&self, after: u64, lasting: bool) {
        self.fail(Call::Commit, after, lasting);
    }

    fn fail_decommits(&self, after: u64, lasting: bool) {
        self.fail(Call::Decommit, after, lasting);
    }

    fn clear_faults(&self) {
        self.faults.clear();
    }

    fn injected(&self) -> u64 {
        Call::ALL.iter().map(|&call| self.faults.failed(call)).sum()
    }

    fn advance_ns(&self, by: u64) {
        self.host.advance_ns(by);
    }
}
