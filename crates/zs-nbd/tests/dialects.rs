//! Every dialect of the protocol, spoken by the tests' own client. The result does not depend on
//! installed programs.

mod client;

use client::dialect::{Dialect, Speaker};
use client::probe::{SIZE, Setup};
use client::{FLUSH, READ, STATUS, TRIM, WRITE, ZEROES};

const FUA: u16 = 1;
const NO_HOLE: u16 = 2;
const DF: u16 = 4;
const PAYLOAD_LEN: u16 = 32;

/// A pattern with zeroes in it, long enough for holes.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    let byte = |at: usize| match at % 20_000 {
        0..9000 => 0,
        _ => (at / 7) as u8 ^ seed,
    };
    (0..len).map(byte).collect()
}

/// Each dialect reads what it wrote, and so do all others.
#[test]
fn every_dialect_is_understood() {
    let setup = Setup::memory();
    let mut speakers: Vec<Speaker> = Dialect::ALL
        .into_iter()
        .map(|dialect| Speaker::connect(&setup.path(), dialect, "disk"))
        .collect();
    let mut model = vec![0; SIZE as usize];
    for (number, len) in [1, 4096, 100_000, 300_000, 70_000].into_iter().enumerate() {
        for at in 0..speakers.len() {
            let dialect = speakers[at].dialect();
            let offset = 1000 * at + 333_333 * number;
            let bytes = pattern(at as u8, len);
            model[offset..offset + len].copy_from_slice(&bytes);
            assert_eq!(speakers[at].size, SIZE);
            assert_eq!(speakers[at].write(0, offset as u64, &bytes), Ok(()));
            for other in &mut speakers {
                let begin = offset.saturating_sub(5000);
                let found = other.read(0, begin as u64, len + 9000).unwrap();
                let expected = &model[begin..begin + len + 9000];
                assert!(found == expected, "{dialect:?} for {:?}", other.dialect());
            }
        }
    }
    for speaker in &mut speakers {
        let half = SIZE / 2;
        assert_eq!(speaker.write(FUA, half, &[7; 8192]), Ok(()));
        assert_eq!(speaker.ask(ZEROES, NO_HOLE, half, 4096), Ok(()));
        assert_eq!(speaker.ask(TRIM, 0, half + 4096, 2048), Ok(()));
        assert_eq!(speaker.ask(FLUSH, 0, 0, 0), Ok(()));
        let found = speaker.read(0, half, 8192).unwrap();
        assert!(found == [[0; 6144].as_slice(), &[7; 2048]].concat());
    }
    for speaker in speakers {
        speaker.leave();
    }
    assert_eq!(
        setup.server.stop(client::probe::LONG),
        zs_nbd::Stopped::InTime
    );
}

/// QEMU from 8.2 on negotiates extended headers, and does not announce the payload of its writes.
#[test]
fn a_write_needs_no_payload_flag() {
    let setup = Setup::memory();
    for dialect in Dialect::ALL {
        let mut speaker = Speaker::connect(&setup.path(), dialect, "disk");
        for flag in [0, PAYLOAD_LEN] {
            let bytes = pattern(flag as u8, 50_000);
            assert_eq!(speaker.send_write(flag, 77, &bytes), Ok(()), "{dialect:?}");
            assert!(speaker.read(0, 77, 50_000).unwrap() == bytes);
        }
    }
    assert_eq!(
        setup
            .stop()
            .iter()
            .filter(|note| note.contains("Declined"))
            .count(),
        0
    );
}

/// A request of 0 bytes does not reach the device, but must be a valid one.
#[test]
fn no_bytes_are_read_and_written_with_success() {
    let setup = Setup::memory();
    for dialect in Dialect::ALL {
        let mut speaker = Speaker::connect(&setup.path(), dialect, "disk");
        for offset in [0, 5, SIZE] {
            assert_eq!(speaker.read(0, offset, 0), Ok(Vec::new()), "{dialect:?}");
            assert_eq!(speaker.write(0, offset, &[]), Ok(()));
            assert_eq!(speaker.ask(TRIM, FUA, offset, 0), Ok(()));
            assert_eq!(speaker.ask(ZEROES, 0, offset, 0), Ok(()));
        }
        assert_eq!(speaker.read(0, SIZE + 1, 0), Err(22));
        assert_eq!(speaker.write(0, SIZE + 1, &[]), Err(28));
        assert_eq!(speaker.ask(STATUS, 0, 0, 0), Err(22));
    }
}

/// A flag that changes nothing in a dialect is allowed there. An unknown flag is an error.
#[test]
fn flags_of_one_meaning_are_taken() {
    let setup = Setup::memory();
    for dialect in Dialect::ALL {
        let mut speaker = Speaker::connect(&setup.path(), dialect, "disk");
        assert!(
            speaker.read(DF, 0, 9000).unwrap() == [0; 9000],
            "{dialect:?}"
        );
        assert!(speaker.read(FUA, 0, 9000).unwrap() == [0; 9000]);
        assert_eq!(speaker.read(NO_HOLE, 0, 9000), Err(22));
        assert_eq!(speaker.write(1 << 9, 0, &[1]), Err(22));
        assert_eq!(speaker.read(0, 0, 1), Ok(vec![0]));
    }
}

/// The first refusal of each kind is reported, so that a user learns why a client fails. A client
/// that fails again and again does not fill the log.
#[test]
fn each_refusal_is_told_once_a_kind_and_client() {
    let setup = Setup::memory();
    let paths = [(); 2].map(|()| setup.path());
    for path in &paths {
        let mut speaker = Speaker::connect(path, Dialect::Structured, "disk");
        for time in 0..100_u64 {
            assert_eq!(speaker.read(0, SIZE + time, 7), Err(22));
            assert_eq!(speaker.write(0, SIZE + time, &[7]), Err(28));
            assert_eq!(speaker.ask(100 + time as u16, 0, 0, 1), Err(22));
            assert_eq!(speaker.ask(TRIM, 1 << 9, time, 1), Err(22));
        }
        speaker.leave();
        let mut asking = Speaker::greeted(path, Dialect::Simple);
        for time in 0..100 {
            assert_eq!(asking.option(1000 + time, b""), Err(1));
            assert_eq!(
                asking.option(client::INFO, &client::go("none", &[])),
                Err(6)
            );
        }
        asking.quit();
    }
    let notes = setup.stop();
    let of = |number: u64| -> Vec<&str> {
        let notes = notes.iter().map(String::as_str);
        let own = notes.filter(|note| note.starts_with(&format!("Declined({number},")));
        own.collect()
    };
    for number in [1, 3] {
        assert_eq!(of(number).len(), 4, "{notes:#?}");
        for part in [
            "NBD_CMD_READ",
            "NBD_CMD_WRITE",
            "another command",
            "flags 0x200",
        ] {
            assert!(
                of(number).iter().any(|note| note.contains(part)),
                "{part}: {notes:#?}"
            );
        }
        assert!(of(number)[0].contains(&format!("offset {SIZE}, length 7: past the end")));
    }
    for number in [2, 4] {
        assert_eq!(of(number).len(), 2, "{notes:#?}");
        assert!(of(number)[1].contains("NBD_OPT_INFO"));
    }
}

/// Checks the client itself: its dialects differ where the protocol says so, and nowhere else.
#[test]
fn dialects_differ_on_the_wire() {
    let heads = Dialect::ALL.map(|dialect| dialect.request(READ, 0, 1, 2, 3));
    let writes = Dialect::ALL.map(|dialect| dialect.write(0, 1, 2, b"abc"));
    let [simple, bare, structured, announced, quiet] = &writes;
    assert_eq!(simple, bare);
    assert_eq!(simple, structured);
    assert_ne!(announced, quiet);
    assert_eq!(heads[3], heads[4]);
    assert_ne!(heads[2], heads[3]);
    assert!(simple.ends_with(b"abc") && u16::from(simple[7]) == WRITE);
}
