//! Random operations against a model: the set of frames in use.

#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

use crate::common::{Random, check, check_stamp, effort, held_by, stamp};
use proptest::prelude::*;
use std::collections::HashSet;
use zs_mm::{Arena, ArenaOptions, Backing, Error, Frame, FrameId, MetaTable, PageSize, ZoneSpecs};
use zs_os::testing::{
    Call, Fault, FaultBacking, FaultControl, HeapBacking, StrictBacking, TestHost,
};
use zs_sync::AtomicU64;

#[derive(Debug, Clone)]
enum Op {
    Alloc(usize),
    Free { count: usize, seed: u64 },
    Trim,
    Decay { milliseconds: u64 },
    Ensure { cell: usize },
    SetFault(Call, Fault),
    NoFaults,
    Cpu(usize),
    Charge { kilobytes: u64 },
    Validate,
}

const CELLS: usize = 100_000;

fn op() -> impl Strategy<Value = Op> {
    let call = prop_oneof![Just(Call::Commit), Just(Call::Decommit)];
    let fault = prop_oneof![
        (1..6_u64).prop_map(Fault::Nth),
        (1..6_u64).prop_map(Fault::From),
        (1..6_u64).prop_map(Fault::Every),
    ];
    prop_oneof![
        6 => (1..400_usize).prop_map(Op::Alloc),
        6 => (1..400_usize, 1..u64::MAX).prop_map(|(count, seed)| Op::Free { count, seed }),
        2 => Just(Op::Trim),
        3 => (0..1500_u64).prop_map(|milliseconds| Op::Decay { milliseconds }),
        1 => (0..CELLS).prop_map(|cell| Op::Ensure { cell }),
        1 => (call, fault).prop_map(|(call, fault)| Op::SetFault(call, fault)),
        2 => Just(Op::NoFaults),
        2 => (0..9_usize).prop_map(Op::Cpu),
        1 => (1..600_u64).prop_map(|kilobytes| Op::Charge { kilobytes }),
        2 => Just(Op::Validate),
    ]
}

/// An arena, and what it must be.
struct Model<B: Backing> {
    arena: Arena<FaultBacking<B>>,
    host: &'static TestHost,
    control: FaultControl,
    table: MetaTable<AtomicU64>,
    frames: Vec<(Frame, u64)>,
    in_use: HashSet<FrameId>,
    next_mark: u64,
}

impl<B: Backing> Model<B> {
    fn new(backing: B, options: ArenaOptions) -> Self {
        let host = crate::common::still_host();
        let arena = crate::common::arena(backing, host, options);
        Self {
            host,
            control: arena.backing().control(),
            table: arena.reserve_table(CELLS).expect("address space"),
            arena,
            frames: Vec::new(),
            in_use: HashSet::new(),
            next_mark: 1,
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Alloc(count) => self.alloc(count),
            Op::Free { count, seed } => self.free(count, seed),
            Op::Trim => self.trim(),
            Op::Decay { milliseconds } => {
                self.host.advance_ns(milliseconds * 1_000_000);
                let before = self.arena.stats().held;
                let given = self.arena.decay();
                assert_eq!(before - self.arena.stats().held, given);
            }
            Op::Ensure { cell } => self.ensure(cell),
            Op::SetFault(call, fault) => self.control.set(call, fault),
            Op::NoFaults => self.control.clear(),
            Op::Cpu(cpu) => self.host.set_cpu(cpu),
            Op::Charge { kilobytes } => {
                if let Ok(charge) = self.arena.charge(kilobytes << 10) {
                    check(
                        &self.arena,
                        self.table.committed_bytes() + (kilobytes << 10),
                    );
                    self.arena.uncharge(charge);
                }
            }
            Op::Validate => self.validate(),
        }
        let stats = self.arena.stats();
        assert!(
            stats.held <= stats.limit && stats.peak <= stats.limit,
            "{stats:?}"
        );
    }

    fn alloc(&mut self, count: usize) {
        for _ in 0..count {
            let failed = self.control.failed(Call::Commit);
            match self.arena.alloc_frame() {
                Ok(frame) => {
                    assert!(self.in_use.insert(frame.id()), "{} twice", frame.id());
                    stamp(&self.arena, &frame, self.next_mark);
                    self.frames.push((frame, self.next_mark));
                    self.next_mark += 1;
                }
                Err(Error::NoMemory) => {
                    let stats = self.arena.stats();
                    assert_eq!(stats.cached, 0, "no memory, with free frames at hand");
                    if self.control.failed(Call::Commit) == failed {
                        self.is_full();
                    }
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Nothing more fits: not one frame and the metadata that a new pageblock takes.
    fn is_full(&self) {
        let granule = self.arena.backing().granule() as u64;
        let unit = granule.max(self.arena.options().page_size.bytes() as u64);
        let stats = self.arena.stats();
        assert!(
            stats.held + unit + 2 * granule > stats.limit,
            "room is left: {stats:?}"
        );
    }

    fn free(&mut self, count: usize, seed: u64) {
        let mut random = Random(seed);
        for _ in 0..count.min(self.frames.len()) {
            let (frame, mark) = self.frames.swap_remove(random.below(self.frames.len()));
            check_stamp(&self.arena, &frame, mark);
            assert!(self.in_use.remove(&frame.id()));
            self.arena.free_frame(frame);
        }
    }

    fn trim(&self) {
        let failed = self.control.failed(Call::Decommit);
        let before = self.arena.stats().held;
        let given = self.arena.trim();
        let stats = self.arena.stats();
        assert_eq!(before - stats.held, given);
        let metadata = stats.metadata + self.table.committed_bytes();
        let needed = held_by(&self.arena, self.in_use.iter().copied()) + metadata;
        assert!(stats.held >= needed);
        if self.control.failed(Call::Decommit) == failed {
            assert_eq!(stats.held, needed, "trim is exact");
        }
    }

    fn ensure(&mut self, cell: usize) {
        let before = self.table.committed_bytes();
        match self.arena.ensure(&self.table, cell) {
            Ok(()) => {
                assert!(self.table.committed_bytes() > cell as u64 * 8);
                let value = self.table.at(cell);
                value.store(7, zs_sync::Ordering::Relaxed);
            }
            Err(error) => {
                assert_eq!(error, Error::NoMemory);
                assert_eq!(self.table.committed_bytes(), before);
            }
        }
    }

    fn validate(&self) {
        check(&self.arena, self.table.committed_bytes());
        assert_eq!(self.arena.frames_in_use(), self.frames.len() as u64);
        for (frame, mark) in &self.frames {
            check_stamp(&self.arena, frame, *mark);
        }
    }

    /// Everything works again when no fault is left, and everything is given back.
    fn end(mut self) {
        self.control.clear();
        self.validate();
        self.trim();
        self.free(usize::MAX, 1);
        self.alloc(100);
        self.free(usize::MAX, 1);
        self.arena.release_table(self.table);
        self.arena.trim();
        check(&self.arena, 0);
        let stats = self.arena.stats();
        assert_eq!(stats.held, stats.metadata);
    }
}

fn run<B: Backing>(backing: B, page_size: PageSize, zones: usize, ops: &[Op]) {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(zones),
        ..crate::common::blocks(page_size, 3)
    };
    // Not a whole number of blocks: the last one is never full.
    let options = ArenaOptions {
        limit: options.limit + 300_000,
        huge_blocks: zones == 2,
        ..options
    };
    let mut model = Model::new(backing, options);
    for op in ops {
        model.step(op);
    }
    model.end();
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: effort(96, 8) as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn strict_memory(
        ops in prop::collection::vec(op(), 1..60),
        page in prop::sample::select(&PageSize::ALL[..]),
        granule in prop::sample::select(&crate::common::GRANULES[..]),
        zones in 1..4_usize,
    ) {
        run(StrictBacking::with_granule(granule), page, zones, &ops);
    }

    #[test]
    fn poisoned_memory(
        ops in prop::collection::vec(op(), 1..60),
        page in prop::sample::select(&PageSize::ALL[..]),
        granule in prop::sample::select(&crate::common::GRANULES[..]),
        zones in 1..4_usize,
    ) {
        run(HeapBacking::new(granule), page, zones, &ops);
    }
}
