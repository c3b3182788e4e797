//! Writes the seeds, `corpus/TARGET/seed-NAME`: inputs that a fuzzer would take long to come upon.
//! Run by `cargo run -p fuzz --example seeds` when what the bytes mean has changed.

use std::error::Error;
use std::{fs, path::Path};
use zcomp::{Algorithm, Compressed, Stream};
use zs_model::Numbers;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    for target in ["ops", "ops_client_words"] {
        for (name, bytes) in operations() {
            write(target, name, &bytes)?;
        }
    }
    for target in ["lz4", "zstd"] {
        for (name, bytes) in pages(target.parse()?)? {
            write(target, name, &bytes)?;
        }
    }
    for (target, name, bytes) in nbd() {
        write(target, name, &bytes)?;
    }
    for (name, bytes) in files()? {
        write("unpack", name, &bytes)?;
    }
    for (name, bytes) in snapshots()? {
        write("snapshot", name, &bytes)?;
    }
    for (name, bytes) in dictionaries()? {
        write("dictionary", name, &bytes)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Outcome<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    fs::create_dir_all(corpus.join(target))?;
    fs::write(corpus.join(target).join(format!("seed-{name}")), bytes)?;
    Ok(())
}

// First bytes of operations, as `fuzz::handle_pools` reads them.
const K4: u8 = 0;
const K16: u8 = 1;
const K64: u8 = 2;
const GRANULE_64K: u8 = 2 << 2;
const TWO_POOLS: u8 = 1 << 4;
const THREE_POOLS: u8 = 2 << 4;
const ZERO_FREED: u8 = 1 << 6;
// And the second byte.
const ROOM_200K: u8 = 2;
const CHECK_OFTEN: u8 = 1 << 4;

// Operations, as `Op::decode` reads them.
const READ: [u8; 3] = [18, 0, 0];
const SCRIBBLE: [u8; 2] = [60, 9];
const TRIM: [u8; 2] = [57, 0];
const VISIT: [u8; 2] = [59, 0];
const CLEAR_FAULT: [u8; 1] = [63];

fn insert(nth: u8) -> [u8; 7] {
    // Of kind 3 to 5 in `Length`: objects of four classes, many of them in two frames.
    [
        0,
        nth,
        nth.wrapping_mul(7),
        0x60 | (nth % 32),
        nth,
        0,
        nth | 1,
    ]
}

fn replace(nth: u8) -> [u8; 6] {
    [22, nth, nth, nth.wrapping_mul(5), 0xc0 | nth, 3]
}

fn free(nth: u8) -> [u8; 3] {
    [42, nth, nth.wrapping_mul(37)]
}

/// Moves frames, in this mode, to this zone or (below 128) anywhere.
fn migrate(frame: u8, frames: u8, mode: u8, zone: u8) -> [u8; 6] {
    [72, frame, 0, frames, mode, zone]
}

/// An operation that names an object alone.
fn on(kind: u8, nth: u8) -> [u8; 3] {
    [kind, nth, 0]
}

/// The first commit fails, then all; then decommits.
fn faults(fill: &[u8], thin: &[u8]) -> Vec<u8> {
    let faults: [&[u8]; 8] = [
        &[61, 0, 1],
        &fill[..70],
        &[61, 1, 0],
        fill,
        &CLEAR_FAULT,
        &[62, 0, 0],
        thin,
        &TRIM,
    ];
    faults.concat()
}

fn operations() -> Vec<(&'static str, Vec<u8>)> {
    let random = |seed, page| {
        let bytes = Numbers::new(seed).bytes(300);
        [&[page | TWO_POOLS, 0], &bytes[..]].concat()
    };
    let fill: Vec<u8> = (0..24).flat_map(insert).collect();
    let thin: Vec<u8> = (0..20).flat_map(free).collect();
    let change: Vec<u8> = (0..12).flat_map(replace).collect();
    let head = |first, second, parts: &[&[u8]]| [&[first, second], &parts.concat()[..]].concat();
    // A reader and a mapping inside while all is freed, then stale, foreign and forged keys.
    let (open, close) = (on(37, 1), on(40, 0));
    let (hold, end) = ([35, 2, 0, 1, 5], on(36, 0));
    let keys = [[52, 0, 0, 53, 0, 0, 1], [54, 0, 1, 1, 0, 0, 0]].concat();
    let around: [&[u8]; 10] = [
        &fill[..70],
        &open,
        &hold,
        &free(0),
        &thin[..24],
        &keys,
        &SCRIBBLE,
        &close,
        &end,
        &READ,
    ];
    // Frames moved in each mode, with readers inside, some isolated and put back, some without
    // objects.
    let moves: Vec<u8> = (0..4).flat_map(|n| migrate(n, 7, n, n << 6)).collect();
    let moving: [&[u8]; 12] = [
        &fill,
        &open,
        &moves,
        &[76, 1, 0],
        &thin,
        &moves,
        &[78, 0, 0],
        &SCRIBBLE,
        &close,
        &[79, 0],
        &moves,
        &READ,
    ];
    let in_place = [[28, 0, 0, 0, 32, 0, 64, 7].as_slice(), &[32, 1, 0, 2, 1, 3]].concat();
    vec![
        ("random-4k", random(1, K4)),
        ("random-16k", random(2, K16 | ZERO_FREED)),
        ("random-64k", random(3, K64 | GRANULE_64K)),
        (
            "fill-and-thin",
            head(K4, 0, &[&fill, &thin, &SCRIBBLE, &VISIT, &TRIM]),
        ),
        (
            "replace",
            head(K16 | THREE_POOLS, 0, &[&fill, &change, &thin, &READ]),
        ),
        ("inside", head(K4 | TWO_POOLS, CHECK_OFTEN, &around)),
        ("moving", head(K4 | ZERO_FREED, CHECK_OFTEN, &moving)),
        (
            "faults",
            head(K4 | GRANULE_64K, CHECK_OFTEN, &[&faults(&fill, &thin)]),
        ),
        (
            "no-room",
            head(K64, ROOM_200K, &[&fill, &change, &thin, &fill]),
        ),
        (
            "in-place",
            head(K4 | ZERO_FREED, 0, &[&fill[..70], &in_place, &READ]),
        ),
    ]
}

/// Pages for one codec: a header as `fuzz::lz4` reads it, and a compressed page.
fn pages(algorithm: Algorithm) -> Outcome<Vec<(&'static str, Vec<u8>)>> {
    let mut stream = Stream::new(algorithm, 1 << 18)?;
    let text = b"any bytes as a compressed page, and as a page; ".repeat(100);
    let noise = Numbers::new(5).bytes(300);
    let mixed = [&noise[..200], &text[..800], &noise[..200], &text[40..900]].concat();
    let mut compressed = |page: &[u8], head: [u8; 5]| -> Outcome<Vec<u8>> {
        let mut room = vec![0; algorithm.max_compressed_len(page.len())];
        let Compressed::Fits(len) = stream.compress(page, &mut room)? else {
            return Err("the worst case's room is not enough".into());
        };
        Ok([&head, &room[..len]].concat())
    };
    let head = |kind: u8, len: usize, room: u8| {
        let [low, high] = (len as u16).to_le_bytes();
        [kind, low, high, room, 0]
    };
    let short = compressed(&text, head(0, text.len() + 1, 9))?;
    let mut cut = compressed(&mixed, head(0, mixed.len(), 9))?;
    cut.truncate(cut.len() / 2);
    Ok(vec![
        ("text", compressed(&text, head(0, text.len(), 255))?),
        ("mixed", compressed(&mixed, head(0, mixed.len(), 1))?),
        ("noise", compressed(&noise, head(0x80, noise.len(), 100))?),
        // 256 KiB: two blocks of zstd, lengths of many bytes in lz4.
        (
            "zeros",
            compressed(&vec![0; 1 << 18], head(3 << 2, 1 << 15, 200))?,
        ),
        ("short", short),
        ("cut", cut),
    ])
}

/// Files: a byte as `fuzz::unpack` reads it, and the file.
fn files() -> Outcome<Vec<(&'static str, Vec<u8>)>> {
    let text = b"any bytes as a file of pages; ".repeat(200);
    let zst = |kind: u8, bytes: &[u8]| -> Outcome<Vec<u8>> {
        Ok([&[kind], &zstd::encode_all(bytes, 3)?[..]].concat())
    };
    let one = zst(0, &text)?;
    let two = [&one[..], &one[1..]].concat();
    // A frame that announces a window of 128 MiB and repeats one byte for three blocks.
    let repeated = [0x02, 0, 0x10, 7];
    let last = [0x03, 0, 0x10, 7];
    let head = [0, 0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3];
    let window = [&head[..], &repeated, &repeated, &last].concat();
    Ok(vec![
        ("plain", [&[0x80], &text[..900]].concat()),
        ("empty", vec![0x81]),
        ("zst-4k", one.clone()),
        ("zst-64k", zst(2, &vec![7; 70_000])?),
        ("two-frames", two),
        ("cut", one[..one.len() - 3].to_vec()),
        ("large-window", window),
    ])
}

/// Handshakes and requests of a good client, from which a fuzzer goes on.
fn nbd() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let option = |code: u8, data: &[u8]| {
        let head = [0, 0, 0, code, 0, 0, 0, data.len() as u8];
        [&b"IHAVEOPT"[..], &head, data].concat()
    };
    let query = b"\0\0\0\0\0\0\0\x01\0\0\0\x05base:";
    let mut options = vec![0, 0, 0, 3];
    for (code, data) in [
        (3, &b""[..]),
        (8, b""),
        (5, b""),
        (77, b"?"),
        (9, query),
        (10, query),
    ] {
        options.extend(option(code, data));
    }
    options.extend(option(6, b"\0\0\0\x05other\0\x02\0\x01\0\x03"));
    let abort = [&options[..], &option(2, b"")].concat();
    let old = [&[0, 0, 0, 1][..], &option(1, b"")].concat();
    let request = |magic: u32, flags: u16, command: u16, offset: u64, len: &[u8]| {
        let mut bytes = magic.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(7_u64.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(len);
        bytes
    };
    let all = |mode: u8| {
        let mut bytes = vec![mode];
        for command in [1, 0, 7, 6, 4, 5, 3, 0, 2] {
            let (magic, len) = match mode {
                2 => (0x21e4_1c71, 9_u64.to_be_bytes().to_vec()),
                _ => (0x2560_9513, 9_u32.to_be_bytes().to_vec()),
            };
            let flags = if mode == 2 && command == 1 { 32 } else { 0 };
            bytes.extend(request(magic, flags, command, 4090, &len));
            if command == 1 {
                bytes.extend(b"nine byte");
            }
        }
        bytes
    };
    vec![
        ("nbd_handshake", "abort", abort),
        ("nbd_handshake", "old", old),
        ("nbd_requests", "simple", all(0)),
        ("nbd_requests", "structured", all(1)),
        ("nbd_requests", "extended", all(2)),
        ("nbd_requests", "broken", vec![0, b'x', b'x', b'x', b'x']),
    ]
}

/// Snapshots: whole ones, and one in parts without checksums, as `fuzz::snapshot` reads them.
fn snapshots() -> Outcome<Vec<(&'static str, Vec<u8>)>> {
    let mut options = zram::StoreOptions::new(64 << 10);
    options.max_size = Some(64 << 10);
    let store = zram::Store::new(options)?;
    store.set_secondary(1, "zstd:3".parse()?, None)?;
    let mut empty = vec![0];
    store.snapshot(&mut empty)?;
    store.write(4096, &b"some text; ".repeat(500))?;
    store.write(40_960, &[7; 4096])?;
    let mut whole = vec![0];
    store.snapshot(&mut whole)?;
    let mut parts = vec![1];
    // Header of 24 bytes, then `lz4`, `zstd:3` and none; a pattern; the end.
    let mut header = whole[1..25].to_vec();
    header.extend_from_slice(b"\x03lz4\0\0\0\0\x06zstd:3\0\0\0\0\0\0");
    let pattern = [&[1_u8, 2, 0, 0, 0][..], &[9; 8]].concat();
    for part in [&header[..], &pattern, &[0, 1, 0, 0, 0]] {
        parts.push(part.len() as u8);
        parts.extend_from_slice(part);
    }
    let cut = whole[..whole.len() - 9].to_vec();
    Ok(vec![
        ("empty", empty),
        ("whole", whole),
        ("parts", parts),
        ("cut", cut),
    ])
}

/// Dictionaries: a trained one, a damaged one, and text.
fn dictionaries() -> Outcome<Vec<(&'static str, Vec<u8>)>> {
    let lengths = [200; 400];
    let mut samples = Vec::new();
    for number in 0..400_u32 {
        let line = format!(
            "sample {number} of a dictionary, {} apples; ",
            number * 7919 % 1000
        );
        samples.extend(line.bytes().cycle().take(200));
    }
    let dictionary = zram::Dictionary::train(&samples, &lengths, 2000)?;
    let trained = [&[0], dictionary.as_bytes()].concat();
    let mut damaged = trained.clone();
    damaged[40] ^= 0x55;
    Ok(vec![
        ("trained", trained),
        ("damaged", damaged),
        ("text", b"\x01no dictionary".to_vec()),
    ])
}
