//! A stream allocates when it is made and never again, whatever it is given.

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    num::NonZeroUsize,
};

use common::{Random, algorithms, pages};
use zcomp::{Compressed, Stream, Streams};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: 1. memory comes from `System` and goes back to it, untouched; 2. the counter neither
// allocates nor panics: it is initialized at compile time and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get().wrapping_sub(layout.size()));
        // SAFETY: as above; `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// How often this thread allocates during `work`.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_codecs_are_counted_too() {
    let made = allocations(|| drop(Stream::new("zstd".parse().unwrap(), 4096).unwrap()));
    assert!(made >= 4, "two contexts, the tables and the box: {made}");
}

/// What a stream says it takes is what it takes, or a little more.
#[test]
fn memory_is_what_a_stream_takes() {
    // The others' memory is not Rust's.
    for name in (1..=22).map(|level| format!("zstd:{level}")) {
        for len in [4096, 16384, 65536] {
            let before = BYTES.get();
            let stream = Stream::new(name.parse().unwrap(), len).unwrap();
            let (said, taken) = (stream.memory(), BYTES.get().wrapping_sub(before));
            assert!(
                taken > 100 << 10,
                "{name}, {len}: {taken} bytes are counted"
            );
            assert!(
                (taken - taken / 100..taken + taken / 9).contains(&said),
                "{name}, {len}: {said} of {taken}"
            );
        }
    }
}

#[test]
fn calls_do_not_allocate() {
    let mut random = Random(5);
    for algorithm in algorithms() {
        for len in [4096, 65536] {
            let pages = pages(len);
            let mut room = vec![0; algorithm.max_compressed_len(len)];
            let mut back = vec![0; len];
            let mut stream = Stream::new(algorithm, len).unwrap();
            let made = allocations(|| {
                for page in pages.iter().cycle().take(30) {
                    let Ok(Compressed::Fits(len)) = stream.compress(page, &mut room) else {
                        panic!("the worst case's room is enough");
                    };
                    stream.decompress(&room[..len], &mut back).unwrap();
                    // Errors and refusals, too.
                    room[random.next() as usize % len] ^= 0x55;
                    let _ = stream.decompress(&room[..len], &mut back);
                    let _ = stream.decompress(&room[..len / 2], &mut back);
                    let _ = stream.compress(page, &mut room[..len / 2]);
                }
            });
            assert_eq!(made, 0, "{stream:?}");
        }
    }
}

#[test]
fn a_new_thread_s_first_call_does_not_allocate() {
    for algorithm in algorithms() {
        let count = NonZeroUsize::new(2).unwrap();
        let streams = Streams::new(algorithm, 4096, count).unwrap();
        let (page, mut room) = (&pages(4096)[5], [0; 5000]);
        std::thread::scope(|scope| {
            let work = || {
                allocations(|| {
                    assert!(streams.lock().compress(page, &mut room).is_ok());
                })
            };
            assert_eq!(scope.spawn(work).join().unwrap(), 0, "{algorithm}");
        });
    }
}
