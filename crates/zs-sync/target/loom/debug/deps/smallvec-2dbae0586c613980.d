/work/main/crates/zs-sync/target/loom/debug/deps/smallvec-2dbae0586c613980.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/smallvec-1.16.5/src/lib.rs

/work/main/crates/zs-sync/target/loom/debug/deps/libsmallvec-2dbae0586c613980.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/smallvec-1.16.5/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/smallvec-1.16.5/src/lib.rs:
