//! Eight connections with requests of every shape, and all of a store's upkeep beside them: every
//! block is checked.
//!
//! Data model: `layout: areas of the disk -> who owns which bytes`; `worker: a connection`;
//! `expected: what its own bytes must be`; `history: which versions of a block of everybody's may
//! be there`; `upkeep: verbs of the control socket`; `tally: how often each was done, and met the
//! others`.
//!
//! Twice: with room for everything, and at a limit that moves, with a backing that is full at
//! times. Five seconds each; `ZS_LONG=n` makes it n times as long. `ZS_SEED=n` chooses another run.
//! Ten minutes at the limit:
//!
//! ```text
//! ZS_LONG=120 cargo test -p zs --test nbd_stress -- \
//!     --nocapture --exact nothing_is_lost_at_the_limit
//! ```
//!
//! | module | responsibility |
//! |---|---|
//! | `regime` | how much room there is |
//! | `layout` | areas of the disk, and owners |
//! | `contents` | bytes of every kind, from a number |
//! | `connection` | the protocol: several requests at once, in three modes |
//! | `history` | blocks that all connections write |
//! | `expected` | what a connection's own bytes must be |
//! | `room` | requests for which there is none |
//! | `worker` | one connection's requests |
//! | `upkeep` | what is done to the store meanwhile |
//! | `tally` | counts, none of which may be zero |
//!
//! # Locking
//! One mutex for each block of everybody's and its history, and one for the tally; none is held
//! while a request is under way.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and say what was done"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../clients/disk.rs"]
mod disk;
#[path = "../../../zs-nbd/tests/client/mod.rs"]
mod nbd;

mod connection;
mod contents;
mod expected;
mod history;
mod layout;
mod regime;
mod room;
mod tally;
mod upkeep;
mod worker;

use disk::Disk;
use history::Histories;
use layout::{BLOCK, CONNECTIONS, FIRST_SIZE};
use regime::Regime;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tally::{Tally, Underway};
use worker::Worker;

/// What a worker does wrong, to prove that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A byte that is sent is not the one that is expected.
    WrongByte,
    /// A write is not sent.
    LostWrite,
    /// A write to everybody's block is sent with the end of an older one.
    TornBlock,
    /// A write to everybody's block is sent again when it was overwritten.
    LateWrite,
}

/// What all threads share.
struct Stage {
    regime: &'static Regime,
    /// The disk's size as far as it is known to have grown.
    size: AtomicU64,
    stopped: AtomicBool,
    histories: Histories,
    underway: Underway,
    tally: Tally,
    until: Instant,
}

impl Stage {
    fn new(regime: &'static Regime, time: Duration) -> Self {
        Self {
            regime,
            size: AtomicU64::new(FIRST_SIZE),
            stopped: AtomicBool::new(false),
            histories: Histories::default(),
            underway: Underway::default(),
            tally: Tally::default(),
            until: Instant::now() + time,
        }
    }

    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed) && Instant::now() < self.until
    }

    /// Runs a thread's part; what goes wrong in one ends all.
    fn play(&self, part: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(part));
        let outcome = outcome.unwrap_or_else(|_| Err("a thread panicked".to_owned()));
        if outcome.is_err() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

/// All connections and the upkeep, for that time. What was wrong first, if anything was.
fn perform(
    disk: &Disk,
    regime: &'static Regime,
    seed: u64,
    time: Duration,
    fault: Fault,
) -> Result<Stage, String> {
    let stage = Stage::new(regime, time);
    let outcomes: Vec<Result<(), String>> =
        std::thread::scope(|scope| {
            let stage = &stage;
            let mut threads = Vec::new();
            for number in 0..CONNECTIONS {
                // One does what is wrong; the others may notice.
                let fault = if number == 0 { fault } else { Fault::None };
                threads.push(scope.spawn(move || {
                    stage.play(|| Worker::new(stage, disk, number, seed, fault).run())
                }));
            }
            for part in upkeep::PARTS {
                threads.push(scope.spawn(move || stage.play(|| part(stage, disk, seed))));
            }
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|outcome| outcome.unwrap_or_else(|_| Err("a thread panicked".to_owned())))
                .collect()
        });
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() {
        Ok(stage)
    } else {
        Err(wrong.join("\n"))
    }
}

fn start(regime: &Regime) -> Disk {
    let arguments = regime.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Disk::start(&arguments)
}

#[test]
fn nothing_is_lost() {
    soak(&regime::ROOM);
}

/// Limits that move, a backing that is full at times, discards and zeroes of every size: writes may
/// be refused, and nothing else; each block is what it was then, or what was asked for.
#[test]
fn nothing_is_lost_at_the_limit() {
    soak(&regime::LIMIT);
}

fn soak(regime: &'static Regime) {
    let seconds = 5 * from_environment("ZS_LONG", 1);
    let seed = from_environment("ZS_SEED", 1);
    println!("{CONNECTIONS} connections for {seconds} s, seed {seed}");
    let disk = start(regime);
    let unused = disk.stat("mem_used_total");
    let time = Duration::from_secs(seconds);
    let stage = perform(&disk, regime, seed, time, Fault::None);
    let stage = stage.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    let mut control = disk.control();
    for (what, name) in [
        ("blocks read back from the backing", "bd_reads"),
        ("blocks written back", "bd_writes"),
        ("blocks recompressed", "recompressed"),
        ("frames that compaction freed", "pages_compacted"),
    ] {
        stage.tally.add(what, control.stat(name));
    }
    print!("{}", stage.tally.report());
    let missing = stage.tally.missing(regime.expected());
    assert_eq!(missing, Vec::<&str>::new(), "never happened");
    println!("stat: {}", control.stats());
    leave_nothing(&disk, stage.size.load(Ordering::Relaxed), unused);
    disk.end();
}

/// Bytes of tables that stay when what was in them has gone.
const KEPT: u64 = 512 << 10;

/// After everything is discarded nothing is held but what tables keep, and all adds up: R2, R7,
/// R24.
fn leave_nothing(disk: &Disk, size: u64, unused: u64) {
    let mut control = disk.control();
    let full = control.stat("mem_used_total");
    let mut connection = connection::Connection::open(&disk.socket(), connection::Mode::Simple);
    assert!(connection.size() >= size);
    connection.trim_all();
    drop(connection);
    control.ask(&json!({"command": "compact"})).unwrap();
    for name in [
        "orig_data_size",
        "compr_data_size",
        "same_pages",
        "huge_pages",
        "bd_count",
        "backing_used",
    ] {
        assert_eq!(control.stat(name), 0, "{name}");
    }
    let empty = control.stat("mem_used_total");
    println!("emptied: {}", control.stats());
    println!(
        "memory: {unused} bytes at first, {full} full, {empty} after everything was discarded"
    );
    assert!(empty < unused + KEPT && empty < full, "still held");
}

/// The faults of the test's own client are noticed, each by the check that is there for it.
#[test]
fn a_client_at_fault_is_noticed() {
    for regime in [&regime::ROOM, &regime::LIMIT] {
        for (fault, expected) in [
            (Fault::WrongByte, "differ"),
            (Fault::LostWrite, "differ"),
            (Fault::TornBlock, "is torn"),
            (Fault::LateWrite, "cannot be there"),
        ] {
            let disk = start(regime);
            let outcome = perform(&disk, regime, 1, Duration::from_secs(60), fault);
            let wrong = outcome
                .err()
                .unwrap_or_else(|| panic!("{fault:?} was not noticed"));
            assert!(wrong.contains(expected), "{fault:?}: {wrong}");
        }
    }
}

/// Bytes of a block as a length on the disk.
const fn bytes(blocks: u64) -> u64 {
    blocks * BLOCK as u64
}
