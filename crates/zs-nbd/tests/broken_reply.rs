//! A reply that breaks off in the middle, while another reply of the same connection waits.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[macro_use]
mod client;

use client::probe::{LONG, Setup};
use client::{Client, GO, GREETING, READ, STRUCTURED, go, option, request};
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use zs_nbd::{Content, Context, Device, Errno, Extents, Limits, Space};

const SIZE: u64 = 16 << 20;
const SECOND_HALF: u64 = SIZE / 2;
/// The offset at which the large read, of the first half, breaks off when it is sent.
const TEAR: u64 = 1 << 20;
const LARGE: u32 = 8 << 20;
/// The byte that each half is filled with.
const FIRST: u8 = 7;
const SECOND: u8 = 9;

/// The time in which the other reply could be sent at the wrong moment.
const MOMENT: Duration = Duration::from_millis(100);

/// A device that fails when it is read a second time at [`TEAR`]. The first read looks for an
/// error, the second one is sent.
///
/// A read of the other half ends meanwhile. Its reply is then ready, and waits to be sent.
#[derive(Debug, Default)]
struct Torn {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    torn: u32,
    others: u32,
}

impl Torn {
    fn wait(&self, until: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, LONG, |state| !until(state));
        assert!(!waited.unwrap().1.timed_out(), "it never happened");
    }
}

impl Device for Torn {
    fn size(&self) -> u64 {
        SIZE
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<Content, Errno> {
        let begun = Instant::now();
        if offset >= SECOND_HALF {
            self.wait(|state| state.torn == 2);
        }
        let torn = {
            let mut state = self.state.lock().unwrap();
            match offset {
                TEAR => state.torn += 1,
                SECOND_HALF.. => state.others += 1,
                _ => {}
            }
            offset == TEAR && state.torn == 2
        };
        self.changed.notify_all();
        // Slow enough for another thread to be worthwhile.
        while begun.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        if torn {
            self.wait(|state| state.others > 0);
            let nobody = self.state.lock().unwrap();
            // Nothing wakes it, so the time passes in the middle of the reply.
            let _ = self.changed.wait_timeout_while(nobody, MOMENT, |_| true);
            return Err(Errno::Io);
        }
        buf.fill(if offset < SECOND_HALF { FIRST } else { SECOND });
        Ok(Content::Data)
    }
    changes_nothing!();
    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn block_status(&self, _: u64, _: &mut Extents, _: Context) -> Result<(), Errno> {
        Ok(())
    }
}

/// With simple replies, and with structured replies in one piece. Several rounds, because the other
/// thread may be too late to do harm.
#[test]
fn nothing_follows_a_reply_that_breaks_off() {
    for (structured, head) in [(false, 16), (true, 28)].repeat(4) {
        let device = Arc::new(Torn::default());
        // Enough memory for one more thread, but not for the large reply.
        let limits = Limits {
            threads: 2,
            memory: 4 * (396 << 10),
            ..Limits::default()
        };
        let setup = Setup::new(Arc::clone(&device) as Arc<dyn Device>, limits);
        let mut client = Client {
            stream: UnixStream::connect(setup.path()).unwrap(),
        };
        client.stream.set_read_timeout(Some(LONG)).unwrap();
        client.receive(GREETING);
        client.send(&3_u32.to_be_bytes());
        if structured {
            client.send(&option(STRUCTURED, &[]));
            client.receive(20);
        }
        client.send(&option(GO, &go("disk", &[])));
        client.receive(20 + 12 + 20);
        let df = 4;
        for cookie in 0..16 {
            client.send(&request(READ, df, cookie, 0, 512));
            let reply = client.receive(head + 512);
            assert_eq!(reply[head..], [FIRST; 512]);
        }
        // Both at once, the second one on another thread.
        let large = request(READ, df, 16, 0, LARGE);
        let other = request(READ, df, 17, SECOND_HALF, 512);
        client.send(&[large, other].concat());
        let mut got = Vec::new();
        // The connection was cut off, maybe with an error.
        let _ = client.stream.read_to_end(&mut got);
        let data = &got[head..];
        assert_eq!(data.len(), TEAR as usize, "all before it was sent");
        let stranger = data.iter().position(|byte| *byte != FIRST);
        assert_eq!(stranger, None, "of {} bytes of data", data.len());
        assert!(device.state.lock().unwrap().others > 0);
        let notes = setup.stop().join("\n");
        assert!(notes.contains("Closed(1, Failed(Io))"), "{notes}");
    }
}
