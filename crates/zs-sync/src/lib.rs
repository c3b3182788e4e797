//! The one place that chooses atomics, cells and locks: std, core-only or loom
