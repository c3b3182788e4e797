//! Streams shared by more threads, and by fewer, than there are of them.

mod common;

use std::{
    num::NonZeroUsize,
    sync::{Barrier, mpsc},
    thread,
    time::Duration,
};

use common::{algorithms, pages};
use zcomp::{Compressed, Streams};

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn streams(name: &str, count: usize) -> Streams {
    let count = NonZeroUsize::new(count).unwrap();
    Streams::new(name.parse().unwrap(), 4096, count).unwrap()
}

#[test]
fn every_thread_gets_its_own_pages_back() {
    let pages = &pages(4096);
    for algorithm in algorithms() {
        for count in [1, 3, 8] {
            let streams = &streams(&algorithm.to_string(), count);
            thread::scope(|scope| {
                for own in 0..6 {
                    scope.spawn(move || {
                        let mut room = vec![0; algorithm.max_compressed_len(4096)];
                        let mut back = [0; 4096];
                        for round in 0..40 {
                            let page = &pages[(own + round) % pages.len()];
                            let answer = streams.lock().compress(page, &mut room).unwrap();
                            let Compressed::Fits(len) = answer else {
                                panic!("the worst case's room is enough");
                            };
                            streams.lock().decompress(&room[..len], &mut back).unwrap();
                            assert!(back == page[..]);
                        }
                    });
                }
            });
        }
    }
}

#[test]
fn as_many_threads_as_streams_hold_one_each() {
    let streams = &streams("lz4", 5);
    let all_hold = &Barrier::new(5);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let guard = streams.lock();
                    // Passed only if all five are inside at once.
                    all_hold.wait();
                    drop(guard);
                    all_hold.wait();
                }
            });
        }
    });
}

#[test]
fn one_thread_too_many_waits_and_goes_on() {
    let streams = &streams("lz4", 1);
    let held = streams.lock();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            drop(streams.lock());
            sender.send(()).unwrap();
        });
        assert!(
            receiver.recv_timeout(Duration::from_millis(50)).is_err(),
            "did not wait"
        );
        drop(held);
        receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    });
}

#[test]
fn a_panic_leaves_the_stream_usable() {
    let streams = &streams("zstd", 1);
    let died = thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _guard = streams.lock();
            panic!("meant to");
        });
        holder.join().is_err()
    });
    assert!(died);
    let answer = streams.lock().compress(&[0; 4096], &mut [0; 100]);
    assert!(matches!(answer, Ok(Compressed::Fits(_))));
}
