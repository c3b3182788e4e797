//! The handshake at a socket, within its time.

use crate::channel::Channel;
use crate::end::End;
use crate::export::Exports;
use crate::proto::{Handshake, Security, Step};
use crate::session::Session;
use crate::tls::Tls;
use std::time::{Duration, Instant};

/// Who comes out of the handshake, with what was read beyond it; nobody, if the client did not want to go on.
pub(crate) fn shake_hands(
    channel: &mut Channel,
    exports: &Exports,
    tls: Option<&Tls>,
    time: Duration,
) -> Result<Option<(Session, Vec<u8>)>, End> {
    let deadline = Instant::now() + time;
    let failed = |error| End::of(error, time);
    channel.look_up_every(time).map_err(failed)?;
    let security = tls.map_or(Security::Clear, |_| Security::Wanted);
    let mut out = Vec::new();
    let mut handshake = Handshake::new(exports, security, &mut out);
    let mut input = Vec::new();
    let mut buf = [0; 4096];
    loop {
        let advanced = handshake.advance(&input, &mut out);
        // What came before a violation is answered; whether that arrives matters to nobody.
        let sent = channel.write(&out, deadline);
        let (taken, step) = advanced?;
        sent.map_err(failed)?;
        out.clear();
        input.drain(..taken);
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
            Step::Begin(agreement) => return Ok(Some((Session::new(agreement), input))),
        }
        match channel.read(&mut buf, Some(deadline)).map_err(failed)? {
            0 => return Err(End::Gone { cut: false }),
            len => input.extend_from_slice(&buf[..len]),
        }
    }
}
