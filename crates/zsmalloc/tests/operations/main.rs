//! What each operation of a pool promises. One program: linking takes longer than running.

#![cfg(not(zs_loom))]

mod compact;
mod fragmentation;
mod handles;
mod limits;
mod maintain;
mod migrate_modes;
mod moving;
mod moving_tiers;
mod pool_end;
mod pools;
mod prop_client_words;
mod prop_handle_pool;
mod read_many;
mod readers;
mod tiers;
mod trim_beside_insert;
mod z10_no_state_in_payload;
mod z14_slots_by_a_naive_walk;
mod z17_no_backing_call_under_a_lock;
mod z19_object_ending_at_frame_end_has_one_span;
mod z21_lookup_is_the_class_used;
mod z25_write_beyond_object_refused;
mod z27_brim;
mod zero_freed;
