//! libzsmalloc: the allocator for C and C++ programs.
//!
//! Data model: `zs_arena * / zs_pool_t * / zs_watcher * -> registry -> what it names`; `zs_handle
//! -> object`. A thin layer: every function checks its pointers, calls the crate below, and turns
//! what that answers into a [`zs_result`]. `docs/c.md` is for its users, `include/*.h` are
//! generated from here.
//!
//! | module | responsibility |
//! |---|---|
//! | `result` | what a call answers, and its text |
//! | `border` | panics end here; pointers from C become references |
//! | `versioned` | structs that grow from one version to the next |
//! | `registry` | pointers that C holds, and whether they name something |
//! | `arena`, `pool` | made, destroyed |
//! | `object` | stored, read, replaced, freed |
//! | `view` | an object's bytes where they lie, until the view ends |
//! | `shrink` | objects moved together, memory given back |
//! | `maintain` | objects and page frames moved, by one budget |
//! | `info` | statistics |
//! | `visit` | every object |
//! | `pressure` | a call when memory is short |
//! | `kernel` | the kernel's names |
//!
//! # Safety
//! What every exported function asks for, unless it says otherwise: a pointer is NULL, or it points
//! to as much memory as its type or the length beside it says, which nobody changes meanwhile; and
//! nobody destroys the arena, pool or watcher that a call is using. Pointers to arenas, pools and
//! watchers may be anything: they are looked up, never followed.
//!
//! # Locking
//!
//! None of its own. A call back into the program is made with no lock held.

#![expect(non_camel_case_types, reason = "the names are C's")]

mod arena;
mod border;
mod info;
mod kernel;
mod maintain;
mod object;
mod pool;
mod pressure;
mod registry;
mod result;
mod shrink;
mod versioned;
mod view;
mod visit;

pub use arena::{
    ZS_ARENA_DECAY_THREAD, ZS_ARENA_HUGE_PAGES, zs_arena, zs_arena_create, zs_arena_decay,
    zs_arena_destroy, zs_arena_options, zs_arena_trim,
};
pub use info::{
    ZS_FULLNESS_GROUPS, zs_arena_get_info, zs_arena_info, zs_class_info, zs_pool_get_class_info,
    zs_pool_get_info, zs_pool_info, zs_pool_validate,
};
pub use kernel::{
    gfp_t, zs_compact, zs_create_pool, zs_destroy_pool, zs_free, zs_get_total_pages,
    zs_get_total_size_bytes, zs_huge_class_size, zs_lookup_class_index, zs_malloc, zs_map_object,
    zs_mapmode, zs_obj_read_begin, zs_obj_read_end, zs_obj_write, zs_pool_stats, zs_unmap_object,
};
pub use maintain::{zs_maintain_end, zs_maintain_report, zs_pool_maintain};
pub use object::{
    zs_handle, zs_pool_allocate, zs_pool_free, zs_pool_insert, zs_pool_read, zs_pool_replace,
    zs_pool_write,
};
pub use pool::{
    ZS_POOL_ZERO_FREED, zs_pool, zs_pool_clear, zs_pool_create, zs_pool_destroy, zs_pool_options,
    zs_pool_t,
};
pub use pressure::{
    zs_pressure, zs_pressure_fn, zs_pressure_kind, zs_pressure_options, zs_pressure_source,
    zs_pressure_watch, zs_watcher, zs_watcher_stop,
};
pub use result::{zs_last_error, zs_result, zs_strerror, zs_version};
pub use shrink::{
    ZS_UNLIMITED, zs_compact_end, zs_compact_report, zs_pool_can_compact, zs_pool_compact,
    zs_pool_shrink, zs_pool_trim,
};
pub use view::{zs_spans, zs_view, zs_view_begin, zs_view_end};
pub use visit::{zs_pool_for_each, zs_visit_fn};
