/work/main/crates/zs-sync/target/loom/debug/deps/pin_project_lite-f839e7dcf330d633.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/pin-project-lite-0.2.17/src/lib.rs

/work/main/crates/zs-sync/target/loom/debug/deps/libpin_project_lite-f839e7dcf330d633.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/pin-project-lite-0.2.17/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/pin-project-lite-0.2.17/src/lib.rs:
