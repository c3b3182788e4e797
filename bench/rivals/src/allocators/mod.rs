//! The rivals of the benchmark of allocators: each blob a block of its exact size.
//!
//! | module | allocator | purge |
//! |---|---|---|
//! | `glibc` | malloc of the C library | `malloc_trim` |
//! | `jemalloc` | jemalloc (feature `jemalloc`) | each thread's cache flushed, all arenas purged |
//! | `mimalloc` | mimalloc 3 | `mi_collect`, by each thread |
//! | `snmalloc` | snmalloc (feature `snmalloc`) | it has none |
//!
//! jemalloc and snmalloc take more than a minute to build, so nothing builds them but
//! `cargo xtask bench allocators`.

#![expect(unsafe_code, reason = "their functions are C's")]

mod block;
mod glibc;
#[cfg(feature = "jemalloc")]
mod jemalloc;
mod mimalloc;
#[cfg(feature = "snmalloc")]
mod snmalloc;

use anyhow::{Context as _, Result};
use bench_own::allocators::{self, Allocators, Contender, Job, OWN};
use block::Blocks;

/// What the child is called with, before a name and a job.
const CHILD: &str = "measure-allocator";

/// The rivals that this program was built with.
const RIVALS: &[Contender] = &[
    Contender {
        name: "glibc",
        measure: |job| allocators::measure(job, || Ok(Blocks(glibc::Glibc))),
        huge: Some(&[("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")]),
        on_request: false,
    },
    #[cfg(feature = "jemalloc")]
    Contender {
        name: "jemalloc",
        measure: |job| allocators::measure(job, || Ok(Blocks(jemalloc::Jemalloc))),
        huge: Some(&[("_RJEM_MALLOC_CONF", "thp:always")]),
        on_request: false,
    },
    Contender {
        name: "mimalloc",
        measure: |job| allocators::measure(job, || Ok(Blocks(mimalloc::Mimalloc))),
        // It asks for them by default.
        huge: Some(&[]),
        on_request: false,
    },
    #[cfg(feature = "snmalloc")]
    Contender {
        name: "snmalloc",
        measure: |job| allocators::measure(job, || Ok(Blocks(snmalloc::Snmalloc))),
        huge: None,
        on_request: false,
    },
];

fn contenders() -> Vec<Contender> {
    OWN.iter().chain(RIVALS).copied().collect()
}

/// Measures all.
pub(crate) fn run(options: &Allocators) -> Result<()> {
    allocators::run(options, &contenders(), &[CHILD])
}

/// One run of one of them, in this process.
pub(crate) fn measure(name: &str, job: &str) -> Result<()> {
    let found = contenders().into_iter().find(|one| one.name == name);
    (found
        .with_context(|| format!("no allocator {name:?}"))?
        .measure)(&Job::parse(job)?)
}
