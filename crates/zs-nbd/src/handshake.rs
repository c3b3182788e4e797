//! The handshake at a socket, within its time.

use crate::channel::Channel;
use crate::end::End;
use crate::export::Exports;
use crate::proto::{Handshake, Security, Step};
use crate::refusals::Refusals;
use crate::session::Session;
use crate::tls::Tls;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who comes out of the handshake, with what was read beyond it; nobody, if the client did not want to go on.
pub(crate) fn shake_hands(
    channel: &mut Channel,
    exports: &Exports,
    tls: Option<&Tls>,
    refusals: Refusals,
    time: Duration,
) -> Result<Option<(Session, Vec<u8>)>, End> {
    let begun = Instant::now();
    channel
        .look_up_every(time)
        .map_err(|error| End::of(error, time))?;
    let security = tls.map_or(Security::Clear, |_| Security::Wanted);
    let mut out = Vec::new();
    let refusals = Arc::new(refusals);
    let mut handshake = Handshake::new(exports, security, Arc::clone(&refusals), &mut out);
    let mut input = Vec::new();
    let mut buf = [0; 4096];
    loop {
        let advanced = handshake.advance(&input, &mut out);
        let time = allowed(time, handshake.listed());
        let deadline = begun + time;
        let failed = |error| End::of(error, time);
        // What came before a violation is answered; whether that arrives matters to nobody.
        let sent = channel.write(&out, deadline);
        let (taken, step) = advanced?;
        sent.map_err(failed)?;
        out.clear();
        input.drain(..taken);
        let goes_on = !matches!(step, Step::End | Step::Begin(_));
        if goes_on && Instant::now() >= deadline {
            // Also of a client that is never waited for: nothing else bounds its options.
            return Err(End::Slow(time));
        }
        match step {
            Step::Send => continue,
            Step::More => {}
            Step::End => return Ok(None),
            Step::StartTls => {
                if let Some(tls) = tls {
                    channel.start_tls(tls.config()).map_err(failed)?;
                }
                handshake.encrypted();
            }
            Step::Begin(agreement) => {
                return Ok(Some((Session::new(agreement, refusals), input)));
            }
        }
        match channel.read(&mut buf, Some(deadline)).map_err(failed)? {
            0 => return Err(End::Gone { cut: false }),
            len => input.extend_from_slice(&buf[..len]),
        }
    }
}

/// Returns the time for a handshake in which so many exports were listed: a tenth more for each,
/// since they are asked about one by one, over a slow line maybe.
fn allowed(time: Duration, listed: usize) -> Duration {
    let listed = u32::try_from(listed).unwrap_or(u32::MAX);
    time.saturating_add((time / 10).saturating_mul(listed))
}
