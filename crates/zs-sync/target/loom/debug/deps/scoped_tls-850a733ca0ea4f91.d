/work/main/crates/zs-sync/target/loom/debug/deps/scoped_tls-850a733ca0ea4f91.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/scoped-tls-1.0.1/src/lib.rs

/work/main/crates/zs-sync/target/loom/debug/deps/libscoped_tls-850a733ca0ea4f91.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/scoped-tls-1.0.1/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/scoped-tls-1.0.1/src/lib.rs:
