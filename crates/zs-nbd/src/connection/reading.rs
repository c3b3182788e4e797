//! Reads the requests of a connection from its socket, on the thread that has the inbox.

use super::{Connection, Inbox, LINGER};
use crate::batch::{Batch, Crew, Next};
use crate::close_reason::CloseReason;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The reason why a read returned no bytes.
enum Unread {
    End(CloseReason),
    /// The client is idle, and another thread can wait for it with the connection's own buffers.
    GivenUp,
}

impl From<CloseReason> for Unread {
    fn from(end: CloseReason) -> Self {
        Self::End(end)
    }
}

impl Connection<'_> {
    /// Reads until a whole request is there, and takes as many requests as a batch holds. Breaks if
    /// this thread's buffers are `lent`, the client is idle, and another thread waits to read.
    pub(super) fn fill(&self, inbox: &mut Inbox, batch: &mut Batch, lent: bool) -> ControlFlow<()> {
        let crew = Crew {
            service_time: &self.service_time,
            threads: self.bounds.threads,
        };
        loop {
            let restless = &mut inbox.restless;
            let next = batch.fill(&self.session, crew, |buf, begun| {
                self.set_restless(restless, lent)?;
                self.read(buf, begun, lent)
            });
            inbox.end = match next {
                Ok(Next::Full | Next::Part) => None,
                Ok(Next::Goodbye) => Some(CloseReason::Goodbye),
                Ok(Next::Broken(violation)) => Some(violation.into()),
                Ok(Next::Gone { cut }) => Some(CloseReason::Gone { cut }),
                Err(Unread::End(end)) => Some(end),
                Err(Unread::GivenUp) => match batch.unload(&mut inbox.carry) {
                    Ok(()) => return ControlFlow::Break(()),
                    // Without memory to hand the bytes over, this thread reads on.
                    Err(_) => continue,
                },
            };
            return ControlFlow::Continue(());
        }
    }

    /// Sets the read timeout of the socket, so that a thread with lent buffers returns from a read
    /// after [`LINGER`].
    fn set_restless(&self, restless: &mut bool, lent: bool) -> Result<(), CloseReason> {
        if *restless == lent {
            return Ok(());
        }
        let most = [self.bounds.idle, lent.then_some(LINGER)];
        let looks = most.into_iter().flatten().min();
        let set = self.channel.look_up_every(looks);
        set.map_err(|error| CloseReason::of(error, self.bounds.request))?;
        *restless = lent;
        Ok(())
    }

    /// Reads the next bytes. `begun` is the time at which the first bytes of an unfinished request
    /// came, if there is one.
    fn read(&self, buf: &mut [u8], begun: Option<Instant>, lent: bool) -> Result<usize, Unread> {
        let time = self.bounds.request;
        let tcp = !self.channel.socket().is_unix();
        let limit = begun.filter(|_| tcp).map(|begun| begun + time);
        loop {
            let quiet = self.bounds.idle.map(|idle| self.client.last_moved() + idle);
            let linger = lent.then(|| Instant::now() + LINGER);
            let deadline = [limit, quiet, linger].into_iter().flatten().min();
            match self.channel.read(buf, deadline) {
                Ok(len) => {
                    self.client.touch();
                    return Ok(len);
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    let now = Instant::now();
                    if limit.is_some_and(|limit| limit <= now) {
                        return Err(CloseReason::Slow(time).into());
                    }
                    if self.working.load(Ordering::Relaxed) > 0 {
                        // The client waits for replies of other threads, so it is not idle.
                        self.client.touch();
                    } else if let Some(idle) = self.bounds.idle
                        && self.client.last_moved() + idle <= now
                    {
                        return Err(CloseReason::Idle(idle).into());
                    }
                    // A thread that gives up by itself does not count: then no thread would read.
                    let is_over = linger.is_some_and(|linger| linger <= now);
                    if is_over && self.inbox.is_awaited_for_good() {
                        return Err(Unread::GivenUp);
                    }
                }
                Err(error) => return Err(CloseReason::of(error, time).into()),
            }
        }
    }
}
