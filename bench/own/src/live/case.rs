//! A program, and what was measured on it.

use super::estimate::Run;
use super::program::Kind;

/// A program, and what was measured on it.
pub(super) struct Case {
    pub(super) kind: Kind,
    /// What it calls itself; `None` if it is not installed.
    pub(super) version: Option<String>,
    /// `None` if it is not installed.
    pub(super) estimates: Option<Estimates>,
}

/// All runs on one process.
pub(super) struct Estimates {
    /// Of all pages, before the others.
    pub(super) before: Run,
    /// With the default sample, by seed: one at least.
    pub(super) samples: Vec<Run>,
    /// Of all pages, after the others.
    pub(super) all: Run,
}
