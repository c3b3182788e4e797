//! The NBD server's side of a connection.

use std::sync::Arc;
use zs_nbd::{Dialogue, Export, Exports, MemoryDevice, Progress};

/// Bytes of the disk: ends within a block.
const SIZE: u64 = 10_000;

/// Most bytes of answers to one byte of input: a request of 28 bytes reads the whole disk, an
/// option of 16 lists two exports.
const MOST_A_BYTE: usize = 400;

/// What a dialogue met.
#[derive(Clone, Copy, Debug, Default)]
pub struct NbdReport {
    /// Bytes of answers.
    pub answers: usize,
    /// The client said goodbye.
    pub over: bool,
    /// The protocol had no answer.
    pub broken: bool,
}

/// Any bytes as what a client sends, from its flags on.
///
/// # Panics
/// If the answers depend on how the bytes are cut, or are out of all proportion.
pub fn nbd_handshake(bytes: &[u8]) -> NbdReport {
    converse(&[], bytes)
}

/// Any bytes as requests: byte 0 chooses simple (0), structured (1) or extended (2) replies, modulo
/// 3.
///
/// # Panics
/// If the answers depend on how the bytes are cut, or are out of all proportion.
pub fn nbd_requests(bytes: &[u8]) -> NbdReport {
    let Some((&mode, requests)) = bytes.split_first() else {
        return NbdReport::default();
    };
    converse(&opening(mode % 3), requests)
}

fn opening(mode: u8) -> Vec<u8> {
    let option = |code: u8, data: &[u8]| {
        let head = [0, 0, 0, code, 0, 0, 0, data.len() as u8];
        [&b"IHAVEOPT"[..], &head, data].concat()
    };
    let mut bytes = vec![0, 0, 0, 3];
    if mode > 0 {
        bytes.extend(option([8, 11][usize::from(mode - 1)], &[]));
        let query = b"\0\0\0\0\0\0\0\x01\0\0\0\x0fbase:allocation";
        bytes.extend(option(10, query));
    }
    bytes.extend(option(7, &[0; 6]));
    bytes
}

/// The same bytes at once, and in pieces whose lengths they choose themselves.
fn converse(opening: &[u8], bytes: &[u8]) -> NbdReport {
    let whole = listen(opening, [bytes].into_iter());
    let mut rest = bytes;
    let pieces = std::iter::from_fn(|| {
        let first = usize::from(*rest.first()?);
        let (piece, later) = rest.split_at((first % 37 + 1).min(rest.len()));
        rest = later;
        Some(piece)
    });
    let cut = listen(opening, pieces);
    assert!(whole.0 == cut.0, "the answers depend on the cuts");
    whole.1
}

#[expect(clippy::expect_used, reason = "constant arguments")]
fn listen<'a>(opening: &[u8], pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, NbdReport) {
    let device = Arc::new(MemoryDevice::new(SIZE).expect("room"));
    let list = ["", "other"].map(|name| Export::new(name, "", device.clone()).expect("a name"));
    let exports = Exports::new(list.to_vec()).expect("two names");
    let mut out = Vec::new();
    let mut dialogue = Dialogue::new(&exports, &mut out);
    let mut report = NbdReport::default();
    let mut fed = opening.len();
    let opened = dialogue.feed(opening, &mut out);
    assert_eq!(opened, Ok(Progress::Open), "the opening is right");
    out.clear();
    for piece in pieces {
        fed += piece.len();
        match dialogue.feed(piece, &mut out) {
            Ok(Progress::Open) => {}
            Ok(Progress::Over) => report.over = true,
            Err(_) => report.broken = true,
        }
        assert!(out.len() <= fed * MOST_A_BYTE, "out of proportion");
        if report.over || report.broken {
            break;
        }
    }
    report.answers = out.len();
    (out, report)
}
