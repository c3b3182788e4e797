//! A pool destroyed, or handed back with a report of what it still holds.

use crate::client::Client;
use crate::ids::{CLASSES, ClassIndex};
use crate::pool::{Name, Pool};
use core::fmt;
use zs_mm::ArenaRef;

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Destroys an empty pool; its frames and tables go back to the arena.
    ///
    /// # Errors
    /// A pool with live objects is handed back, with a report of the classes that hold them. Drop
    /// it to destroy it nevertheless. In a forked child the pool is only let go of.
    ///
    /// # Examples
    /// A pool that somebody still uses is not destroyed; a compaction in another thread is a use:
    ///
    /// ```compile_fail,E0505
    /// # use zs_os::{AnonBacking, HOST};
    /// # use zs_mm::{Arena, ArenaOptions};
    /// # use zsmalloc::{CompactBudget, HandlePool, PoolOptions};
    /// # let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(64 << 20))?;
    /// # let pool = HandlePool::new(arena, PoolOptions::named("blobs"))?;
    /// std::thread::scope(|scope| {
    ///     let compaction = scope.spawn(|| pool.compact(CompactBudget::UNLIMITED));
    ///     let _ = pool.destroy(); // cannot move out of `pool` because it is borrowed
    ///     let _ = compaction.join();
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// So is a frame that is isolated:
    ///
    /// ```compile_fail,E0505
    /// # use zs_os::{AnonBacking, HOST};
    /// # use zs_mm::{Arena, ArenaOptions, FrameId};
    /// # use zsmalloc::{HandlePool, PoolOptions};
    /// # let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(64 << 20))?;
    /// # let pool = HandlePool::new(&arena, PoolOptions::named("blobs"))?;
    /// let token = arena.isolate(FrameId(0), &[&pool], false);
    /// let _ = pool.destroy(); // cannot move out of `pool` because it is borrowed
    /// drop(token);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// When it is over, the pool is:
    ///
    /// ```
    /// # use zs_os::{AnonBacking, HOST};
    /// # use zs_mm::{Arena, ArenaOptions};
    /// # use zsmalloc::{CompactBudget, HandlePool, PoolOptions};
    /// # let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(64 << 20))?;
    /// # let pool = HandlePool::new(arena, PoolOptions::named("blobs"))?;
    /// std::thread::scope(|scope| {
    ///     let compaction = scope.spawn(|| pool.compact(CompactBudget::UNLIMITED));
    ///     let _ = compaction.join();
    /// });
    /// pool.destroy()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[expect(clippy::result_large_err, reason = "the pool is handed back, not lost")]
    pub fn destroy(self) -> Result<(), DestroyError<A, C>> {
        if self.arena().is_forked() {
            return Ok(());
        }
        let mut report = DestroyReport {
            name: self.name,
            sizes: self.geometry.classes().map(|class| class.size),
            objects: [0; CLASSES],
        };
        for (class, objects) in ClassIndex::all().zip(&mut report.objects) {
            *objects = self.lock_class(class).objects();
        }
        if report.objects() == 0 {
            return Ok(());
        }
        Err(DestroyError { pool: self, report })
    }
}

/// A pool that was not destroyed, and why.
pub struct DestroyError<A: ArenaRef, C: Client> {
    /// The pool, as it was.
    pub pool: Pool<A, C>,
    /// The classes that hold objects.
    pub report: DestroyReport,
}

impl<A: ArenaRef, C: Client> fmt::Debug for DestroyError<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DestroyError").field(&self.report).finish()
    }
}

impl<A: ArenaRef, C: Client> fmt::Display for DestroyError<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

impl<A: ArenaRef, C: Client> core::error::Error for DestroyError<A, C> {}

/// The classes of a pool that hold objects. Displayed as one sentence.
#[derive(Clone, Copy)]
pub struct DestroyReport {
    name: Name,
    sizes: [u32; CLASSES],
    objects: [u64; CLASSES],
}

impl DestroyReport {
    /// Returns the number of live objects of all classes.
    pub fn objects(&self) -> u64 {
        self.objects.iter().sum()
    }

    /// Returns the classes that hold objects, as (slot size in bytes, objects), smallest first.
    pub fn classes(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let classes = self.sizes.iter().copied().zip(self.objects);
        classes.filter(|&(_, objects)| objects > 0)
    }
}

impl fmt::Debug for DestroyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DestroyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, objects) = (self.name.as_str(), self.objects());
        write!(f, "pool {name:?} still holds {objects} objects:")?;
        for (index, (size, objects)) in self.classes().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator} {objects} in class {size}")?;
        }
        Ok(())
    }
}
