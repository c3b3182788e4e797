//! The requests of a connection, read from its socket: by whichever thread has the inbox.

use super::{Connection, Inbox, LINGER};
use crate::batch::{Batch, Crew, Next};
use crate::close_reason::CloseReason;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Why a read ends without bytes.
enum Unread {
    End(CloseReason),
    /// The client is idle, and somebody else can wait for it with buffers of the connection's own.
    GivenUp,
}

impl From<CloseReason> for Unread {
    fn from(end: CloseReason) -> Self {
        Self::End(end)
    }
}

impl Connection<'_> {
    /// Reads until there is a whole request, and takes as many as make a batch. Breaks off if this
    /// thread's buffers are `lent`, its client is idle, and another thread can read on.
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
                    // No memory to hand it over: it is read on here.
                    Err(_) => continue,
                },
            };
            return ControlFlow::Continue(());
        }
    }

    /// Sees that a thread with lent buffers looks up in time.
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

    /// Reads what comes next, of a request that has begun maybe.
    fn read(&self, buf: &mut [u8], begun: Option<Instant>, lent: bool) -> Result<usize, Unread> {
        let time = self.bounds.request;
        let tcp = !self.channel.socket().is_unix();
        let limit = begun.filter(|_| tcp).map(|begun| begun + time);
        loop {
            let quiet = self.bounds.idle.map(|idle| self.guest.last_moved() + idle);
            let linger = lent.then(|| Instant::now() + LINGER);
            let deadline = [limit, quiet, linger].into_iter().flatten().min();
            match self.channel.read(buf, deadline) {
                Ok(len) => {
                    self.guest.touch();
                    return Ok(len);
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    let now = Instant::now();
                    if limit.is_some_and(|limit| limit <= now) {
                        return Err(CloseReason::Slow(time).into());
                    }
                    if self.working.load(Ordering::Relaxed) > 0 {
                        // It waits for others of us.
                        self.guest.touch();
                    } else if let Some(idle) = self.bounds.idle
                        && self.guest.last_moved() + idle <= now
                    {
                        return Err(CloseReason::Idle(idle).into());
                    }
                    // Not for one who gives up too: then nobody would read.
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
