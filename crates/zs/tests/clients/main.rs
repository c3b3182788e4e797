//! `zs serve` and clients that others wrote: qemu-img, qemu-io, qemu-storage-daemon, nbdinfo,
//! nbdcopy, fio, and three file systems through FUSE and a loop device.
//!
//! A missing program is named and its test skipped. File systems are mounted only with
//! `ZS_MOUNT=1`, by root. `cargo xtask clients` sets that, and runs all of it with whatever
//! versions there are. What clients may do is tested without any in `zs-nbd/tests/dialects.rs`.
//!
//! | module | responsibility |
//! |---|---|
//! | `disk` | a running server and its control socket |
//! | `programs` | whether programs are there, and what they print |
//! | `images` | images in and out, maps |
//! | `patterns` | what is written is what is read, by qemu-io and fio |
//! | `mounted` | a disk as a file, a block device, a file system |
//! | `file_systems` | ext4, xfs and btrfs on a disk |
//! | `endings` | clients and servers that end in the middle of it |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and say what is skipped"
)]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod endings;
mod file_systems;
mod images;
mod mounted;
mod patterns;
mod programs;
