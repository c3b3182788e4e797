//! Threads that meet in a pool: what ThreadSanitizer runs, too.

#![cfg(not(zs_loom))]

mod compact_threads;
mod migrate_threads;
mod threads;
mod z2_statistics;
mod z8_one_word_one_lock;
mod zeroed_threads;
mod zone_level;
