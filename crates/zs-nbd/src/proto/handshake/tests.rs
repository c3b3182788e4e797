use super::*;
use crate::memory_device::MemoryDevice;

/// Answers that are much longer than their options are sent in between.
#[test]
fn answers_are_sent_before_they_are_many() {
    let device = Arc::new(MemoryDevice::new(0).unwrap());
    let list = (0..8).map(|number| {
        let description = "x".repeat(4000);
        Export::new(format!("{number}"), description, device.clone()).unwrap()
    });
    let exports = Exports::new(list.collect()).unwrap();
    let mut out = Vec::new();
    let untold = Arc::new(Refusals::untold());
    let mut handshake = Handshake::new(&exports, Security::Clear, untold, &mut out);
    let list = [&b"IHAVEOPT\0\0\0\x03\0\0\0\0"[..]; 256].concat();
    let input = [&3_u32.to_be_bytes(), &list[..]].concat();
    let (mut rest, mut sent) = (&input[..], 0);
    loop {
        let (taken, step) = handshake.advance(rest, &mut out).unwrap();
        assert!(out.len() < FULL_BYTES + 8 * 4100, "{} at once", out.len());
        sent += out.len();
        out.clear();
        rest = &rest[taken..];
        match step {
            Step::Send => {}
            Step::More => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(rest.is_empty());
    assert!(sent > 256 * 8 * 4000);
}
