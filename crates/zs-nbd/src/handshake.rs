//! The handshake at a socket, within its time.

use crate::channel::Channel;
use crate::close_reason::CloseReason;
use crate::export::Exports;
use crate::proto::{Handshake, Security, Step, Wish};
use crate::refusals::Refusals;
use crate::session::Session;
use crate::tls::Tls;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A handshake under way: a client wishes to begin, as often as its wish is denied.
pub(crate) struct Lobby<'a> {
    handshake: Handshake<'a>,
    refusals: Arc<Refusals>,
    tls: Option<&'a Tls>,
    begun: Instant,
    time: Duration,
    input: Vec<u8>,
    out: Vec<u8>,
}

impl<'a> Lobby<'a> {
    /// Begins one. What the client is refused, `refusals` tells.
    pub(crate) fn open(
        exports: &'a Exports,
        tls: Option<&'a Tls>,
        refusals: Refusals,
        time: Duration,
    ) -> Self {
        let security = tls.map_or(Security::Clear, |_| Security::Wanted);
        let refusals = Arc::new(refusals);
        let mut out = Vec::new();
        Self {
            handshake: Handshake::new(exports, security, Arc::clone(&refusals), &mut out),
            refusals,
            tls,
            begun: Instant::now(),
            time,
            input: Vec::new(),
            out,
        }
    }

    /// Returns the next wish to begin; none, if the client does not want to go on.
    pub(crate) fn next(&mut self, channel: &mut Channel) -> Result<Option<Wish>, CloseReason> {
        let time = self.time;
        let looks = channel.look_up_every(Some(time));
        looks.map_err(|error| CloseReason::of(error, time))?;
        let mut buf = [0; 4096];
        loop {
            let advanced = self.handshake.advance(&self.input, &mut self.out);
            // What came before a violation is answered; whether that arrives matters to nobody.
            let sent = self.send(channel);
            let (taken, step) = advanced?;
            sent?;
            self.input.drain(..taken);
            let (time, deadline) = (self.allowed(), self.deadline());
            let failed = |error| CloseReason::of(error, time);
            let goes_on = !matches!(step, Step::End | Step::Begin(_));
            if goes_on && Instant::now() >= deadline {
                // Also of a client that is never waited for: nothing else bounds its options.
                return Err(CloseReason::Slow(time));
            }
            match step {
                Step::Send => continue,
                Step::More => {}
                Step::End => return Ok(None),
                Step::StartTls => {
                    if let Some(tls) = self.tls {
                        channel.start_tls(tls.config()).map_err(failed)?;
                    }
                    self.handshake.encrypted();
                }
                Step::Begin(wish) => return Ok(Some(wish)),
            }
            match channel.read(&mut buf, Some(deadline)).map_err(failed)? {
                0 => return Err(CloseReason::Gone { cut: false }),
                len => self.input.extend_from_slice(&buf[..len]),
            }
        }
    }

    /// Tells the client that it may begin. Returns its session, and what was read beyond the
    /// handshake.
    pub(crate) fn grant(
        &mut self,
        channel: &Channel,
        wish: &Wish,
    ) -> Result<(Session, Vec<u8>), CloseReason> {
        self.handshake.grant(wish, &mut self.out);
        self.send(channel)?;
        let session = Session::new(wish.agreement.clone(), Arc::clone(&self.refusals));
        Ok((session, std::mem::take(&mut self.input)))
    }

    /// Tells the client that it may not begin now, and why, which is returned; if it cannot be
    /// told, that is its end.
    pub(crate) fn deny(
        &mut self,
        channel: &Channel,
        wish: &Wish,
        why: CloseReason,
    ) -> Result<CloseReason, CloseReason> {
        if !self.handshake.deny(wish, &why.to_string(), &mut self.out) {
            return Err(why);
        }
        self.send(channel).map(|()| why)
    }

    fn send(&mut self, channel: &Channel) -> Result<(), CloseReason> {
        let sent = channel.sender().write(&self.out, Some(self.deadline()));
        self.out.clear();
        sent.map_err(|error| CloseReason::of(error, self.allowed()))
    }

    fn deadline(&self) -> Instant {
        self.begun + self.allowed()
    }

    /// Returns the time that the client has: a tenth more for each export that was listed, since
    /// they are asked about one by one, over a slow line maybe.
    fn allowed(&self) -> Duration {
        let listed = u32::try_from(self.handshake.listed()).unwrap_or(u32::MAX);
        let more = (self.time / 10).saturating_mul(listed);
        self.time.saturating_add(more)
    }
}
