/work/main/crates/zs-sync/target/loom/debug/deps/matchers-429ecf987dd2ed49.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/matchers-0.2.0/src/lib.rs

/work/main/crates/zs-sync/target/loom/debug/deps/libmatchers-429ecf987dd2ed49.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/matchers-0.2.0/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/matchers-0.2.0/src/lib.rs:
