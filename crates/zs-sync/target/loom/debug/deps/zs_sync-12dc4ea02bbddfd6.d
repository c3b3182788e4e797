/work/main/crates/zs-sync/target/loom/debug/deps/zs_sync-12dc4ea02bbddfd6.d: crates/zs-sync/src/lib.rs crates/zs-sync/src/cell.rs crates/zs-sync/src/host.rs crates/zs-sync/src/mutex.rs crates/zs-sync/src/payload.rs crates/zs-sync/src/rank.rs crates/zs-sync/src/raw_lock.rs crates/zs-sync/src/table.rs

/work/main/crates/zs-sync/target/loom/debug/deps/libzs_sync-12dc4ea02bbddfd6.rmeta: crates/zs-sync/src/lib.rs crates/zs-sync/src/cell.rs crates/zs-sync/src/host.rs crates/zs-sync/src/mutex.rs crates/zs-sync/src/payload.rs crates/zs-sync/src/rank.rs crates/zs-sync/src/raw_lock.rs crates/zs-sync/src/table.rs

crates/zs-sync/src/lib.rs:
crates/zs-sync/src/cell.rs:
crates/zs-sync/src/host.rs:
crates/zs-sync/src/mutex.rs:
crates/zs-sync/src/payload.rs:
crates/zs-sync/src/rank.rs:
crates/zs-sync/src/raw_lock.rs:
crates/zs-sync/src/table.rs:
