//! What a frame's move costs, beside a copy of 4 KiB between cold frames.
//!
//! pool of compressed pages -> all its frames in random order -> (copy the same bytes elsewhere,
//! move them) in turn -> nanoseconds a frame

use super::pool::{PAGE, Pool};
use crate::figures::Figures;
use crate::numbers::XorShift32;
use anyhow::{Result, bail};
use std::hint::black_box;
use std::time::Instant;
use zs_mm::{Anywhere, FrameId, FrameStatus, MigrateMode, MigrateOptions, Movable};

/// Frames of one call.
const LIST: usize = 512;

/// The frames of a pool, in random order.
pub(super) fn frames_of(pool: &Pool, seed: u32) -> Vec<FrameId> {
    let of_pool = |&frame: &FrameId| {
        let descriptor = pool.arena().frame_descriptor(frame);
        descriptor.is_some_and(|descriptor| descriptor.owner().is_some())
    };
    let frames: Vec<FrameId> = (0..)
        .map(FrameId)
        .take_while(|&frame| pool.arena().frame_descriptor(frame).is_some())
        .filter(of_pool)
        .collect();
    let order = XorShift32::new(seed).shuffled(frames.len() as u32);
    order.into_iter().map(|at| frames[at as usize]).collect()
}

/// Two buffers as large as the pool's frames: what is copied from, and where to, by the pool's own
/// order.
pub(super) struct Copier {
    from: Vec<u8>,
    to: Vec<u8>,
    order: Vec<u32>,
}

impl Copier {
    pub(super) fn new(frames: usize, seed: u32) -> Self {
        let bytes = frames << PAGE.shift();
        Self {
            from: vec![1; bytes],
            to: vec![2; bytes],
            order: XorShift32::new(seed).shuffled(frames as u32),
        }
    }

    /// Copies every frame once, in random order, to the place of another; returns nanoseconds a
    /// frame.
    pub(super) fn run(&mut self) -> f64 {
        let start = Instant::now();
        let last = self.order.len() - 1;
        for (at, &frame) in self.order.iter().enumerate() {
            let (from, to) = (place(frame), place(self.order[last - at]));
            self.to[to].copy_from_slice(&self.from[from]);
        }
        black_box(&self.to);
        start.elapsed().as_nanos() as f64 / self.order.len() as f64
    }
}

fn place(frame: u32) -> std::ops::Range<usize> {
    let start = (frame as usize) << PAGE.shift();
    start..start + PAGE.bytes()
}

/// Moves every frame of a pool once; returns nanoseconds a frame.
pub(super) fn run(pool: &Pool, mode: MigrateMode, seed: u32) -> Result<f64> {
    let frames = frames_of(pool, seed);
    // Committed and touched, as the copies' destinations are.
    let spare: Vec<_> = (0..LIST * 2)
        .map(|_| pool.arena().alloc_frame())
        .collect::<Result<_, _>>()?;
    spare
        .into_iter()
        .for_each(|frame| pool.arena().free_frame(frame));
    let owners: [&dyn Movable; 1] = [pool];
    let start = Instant::now();
    for list in frames.chunks(LIST) {
        let mut status = [FrameStatus::Pending; LIST];
        let options = MigrateOptions::new(mode);
        let mut to = Anywhere(pool.arena());
        let report = pool
            .arena()
            .migrate_pages(list, &owners, &mut to, options, &mut status);
        if report.moved != list.len() as u64 {
            bail!("of {} frames {report:?}", list.len());
        }
    }
    Ok(start.elapsed().as_nanos() as f64 / frames.len() as f64)
}

/// Copies and moves in turn: what else the machine does meanwhile is in both.
pub(super) fn measure(pool: &Pool, seed: u32) -> Result<Figures> {
    let mut figures = Figures::default();
    let mut copier = Copier::new(frames_of(pool, seed).len(), seed);
    copier.run();
    for (name, mode) in [
        ("async", MigrateMode::Async),
        ("no_copy", MigrateMode::SyncNoCopy),
    ] {
        let before = copier.run();
        let moved = run(pool, mode, seed)?;
        let copy = (before + copier.run()) / 2.0;
        figures.push(format!("copy_beside_{name}_ns"), copy);
        figures.push(format!("move_{name}_ns"), moved);
        figures.push(format!("move_{name}_over_copy"), moved / copy);
        figures.push(format!("move_{name}_gb_s"), PAGE.bytes() as f64 / moved);
    }
    Ok(figures)
}
