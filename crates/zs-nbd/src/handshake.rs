//! The handshake on a socket, within its time.

use crate::channel::Channel;
use crate::close_reason::CloseReason;
use crate::export::Exports;
use crate::proto::{Handshake, Security, Step, Wish};
use crate::refusals::Refusals;
use crate::session::Session;
use crate::tls::Tls;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A handshake in progress. A client wishes to begin, and may do so again after a denial.
pub(crate) struct SocketHandshake<'a> {
    handshake: Handshake<'a>,
    refusals: Arc<Refusals>,
    tls: Option<&'a Tls>,
    begun: Instant,
    time: Duration,
    input: Vec<u8>,
    out: Vec<u8>,
}

impl<'a> SocketHandshake<'a> {
    /// Begins a handshake that may take `time`. Each refused option is noted in `refusals`.
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

    /// Returns the client's next wish to begin, or `None` if the client ends the handshake. Blocks
    /// until then.
    pub(crate) fn next(&mut self, channel: &mut Channel) -> Result<Option<Wish>, CloseReason> {
        let time = self.time;
        let looks = channel.look_up_every(Some(time));
        looks.map_err(|error| CloseReason::of(error, time))?;
        let mut buf = [0; 4096];
        loop {
            let advanced = self.handshake.advance(&self.input, &mut self.out);
            // Options before a violation are answered. It does not matter whether these answers
            // arrive.
            let sent = self.send(channel);
            let (taken, step) = advanced?;
            sent?;
            self.input.drain(..taken);
            let (time, deadline) = (self.allowed(), self.deadline());
            let failed = |error| CloseReason::of(error, time);
            let goes_on = !matches!(step, Step::End | Step::Begin(_));
            if goes_on && Instant::now() >= deadline {
                // Checked also for a client that sends without a pause: nothing else limits its
                // options.
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

    /// Tells the client that it may begin. Returns its session, and the bytes that followed the
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

    /// Tells the client why it may not begin now, and returns that reason. Returns it as an error
    /// if this kind of handshake has no such answer: then the connection ends.
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

    /// Returns the time that the client has for its handshake. It gets a tenth more for each listed
    /// export, because it may ask about them one by one over a slow line.
    fn allowed(&self) -> Duration {
        let listed = u32::try_from(self.handshake.listed()).unwrap_or(u32::MAX);
        let more = (self.time / 10).saturating_mul(listed);
        self.time.saturating_add(more)
    }
}
