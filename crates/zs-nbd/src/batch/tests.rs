use super::*;
use crate::export::{Export, Exports};
use crate::memory_device::MemoryDevice;
use crate::proto::{Handshake, Security, Step};
use crate::refusals::Refusals;
use proptest::prelude::*;
use std::time::Duration;

/// Makes a session with simple replies, for a disk of 1 MiB.
fn session() -> Session {
    let disk = Arc::new(MemoryDevice::new(1 << 20).unwrap());
    let exports = Exports::new(vec![Export::new("", "", disk).unwrap()]).unwrap();
    let mut out = Vec::new();
    let untold = Arc::new(Refusals::untold());
    let mut handshake = Handshake::new(&exports, Security::Clear, Arc::clone(&untold), &mut out);
    let opening = b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0";
    let (_, step) = handshake.advance(opening, &mut out).unwrap();
    let Step::Begin(wish) = step else {
        panic!("{step:?}");
    };
    Session::new(wish.agreement, untold)
}

/// Returns writes and reads in turn, of these lengths.
fn stream(lens: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (cookie, len) in lens.iter().enumerate() {
        let write = cookie % 2 == 0;
        bytes.extend(0x2560_9513_u32.to_be_bytes());
        bytes.extend([0, 0, 0, u8::from(write)]);
        bytes.extend((cookie as u64).to_be_bytes());
        bytes.extend((cookie as u64 * 512).to_be_bytes());
        bytes.extend(u32::try_from(*len).unwrap().to_be_bytes());
        if write {
            bytes.extend((0..*len).map(|n| u8::try_from((n + cookie) % 256).unwrap()));
        }
    }
    bytes
}

/// Returns the answers to a stream that arrives in these parts. Where `hands` says so, the rest is
/// handed to the other of two batches.
fn answers(stream: &[u8], pieces: &[usize], hands: &[bool], service_time: &ServiceTime) -> Vec<u8> {
    let session = session();
    let mut batches =
        [(); 2].map(|()| Batch::new(session.mode(), Account::without_loans()).unwrap());
    let (mut rest, mut out, mut carry) = (stream, Vec::new(), Carry::default());
    let (mut pieces, mut hands) = (pieces.iter().cycle(), hands.iter().cycle());
    let mut now = 0;
    loop {
        let crew = Crew {
            service_time,
            threads: 3,
        };
        let next = batches[now].fill(&session, crew, |buf, _| {
            let len = *pieces.next().unwrap_or(&1);
            let (piece, later) = rest.split_at(len.min(rest.len()).min(buf.len()));
            buf[..piece.len()].copy_from_slice(piece);
            rest = later;
            Ok::<usize, ()>(piece.len())
        });
        let hand = *hands.next().unwrap_or(&false);
        if hand {
            batches[now].unload(&mut carry).unwrap();
        }
        let done = batches[now].execute(&session, |replies, _| {
            out.extend_from_slice(replies);
            Ok::<(), ()>(())
        });
        assert!(done.is_ok());
        if hand {
            now = 1 - now;
            batches[now].load(&mut carry);
        }
        match next.unwrap() {
            Next::Full | Next::Part => {}
            Next::Gone { cut: false } => return out,
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The answers do not depend on the cuts, on the batch that goes on, nor on the speed of the
    /// device.
    #[test]
    fn whoever_reads_on_the_answers_are_the_same(
        lens in prop::collection::vec(prop_oneof![
            9 => 1..9000_usize,
            2 => 60_000..200_000_usize,
        ], 1..60),
        pieces in prop::collection::vec(1..150_000_usize, 1..9),
        hands in prop::collection::vec(any::<bool>(), 1..9),
        slow in any::<bool>(),
    ) {
        let service_time = ServiceTime::default();
        for _ in 0..20 {
            service_time.note(Duration::from_millis(u64::from(slow)), 1);
        }
        let stream = stream(&lens);
        let whole = answers(&stream, &[usize::MAX], &[false], &ServiceTime::default());
        prop_assert!(answers(&stream, &pieces, &hands, &service_time) == whole);
    }
}
