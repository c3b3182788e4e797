//! The whole protocol without a socket.

use crate::batch::{Batch, Crew, Next, Unanswered};
use crate::export::Exports;
use crate::lender::Account;
use crate::proto::{Handshake, Security, Step, Violation};
use crate::refusals::Refusals;
use crate::service_time::ServiceTime;
use crate::session::Session;
use std::convert::Infallible;
use std::sync::Arc;

/// One connection in clear, as a function from bytes to bytes. It is for transports other than
/// sockets, for tests and for fuzzing.
///
/// The output does not depend on how the input is divided between calls.
#[derive(Debug)]
pub struct Dialogue<'a> {
    stage: Stage<'a>,
    /// The bytes that the handshake has not taken yet.
    pending: Vec<u8>,
}

#[derive(Debug)]
enum Stage<'a> {
    Handshake(Handshake<'a>, Arc<Refusals>),
    Requests(Session, Box<Batch>),
    Over,
}

/// The state of a dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for more bytes.
    Open,
    /// It has ended: the client said goodbye; or the device failed in the middle of a reply, where
    /// an error cannot be sent any more; or there is no memory for the buffers.
    Over,
}

impl<'a> Dialogue<'a> {
    /// Begins a dialogue. Appends the greeting to `out`.
    pub fn new(exports: &'a Exports, out: &mut Vec<u8>) -> Self {
        let refusals = Arc::new(Refusals::untold());
        let handshake = Handshake::new(exports, Security::Clear, Arc::clone(&refusals), out);
        Self {
            stage: Stage::Handshake(handshake, refusals),
            pending: Vec::new(),
        }
    }

    /// Takes bytes of the client, and appends the answers to `out`.
    ///
    /// # Errors
    /// [`Violation`] if the client broke the protocol in a way that cannot be answered. The
    /// connection must be closed, after the bytes in `out` were sent.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, Violation> {
        let Stage::Handshake(handshake, refusals) = &mut self.stage else {
            return self.requests(bytes, out);
        };
        self.pending.extend_from_slice(bytes);
        loop {
            let (taken, step) = handshake.advance(&self.pending, out)?;
            self.pending.drain(..taken);
            match step {
                Step::Send => {}
                Step::More => return Ok(Progress::Open),
                Step::End | Step::StartTls => {
                    self.stage = Stage::Over;
                    return Ok(Progress::Over);
                }
                Step::Begin(wish) => {
                    let Ok(batch) = Batch::new(wish.agreement.mode, Account::without_loans())
                    else {
                        self.stage = Stage::Over;
                        return Ok(Progress::Over);
                    };
                    handshake.grant(&wish, out);
                    let session = Session::new(wish.agreement, Arc::clone(refusals));
                    self.stage = Stage::Requests(session, Box::new(batch));
                    let early = std::mem::take(&mut self.pending);
                    return self.requests(&early, out);
                }
            }
        }
    }

    fn requests(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, Violation> {
        let Stage::Requests(session, batch) = &mut self.stage else {
            return Ok(Progress::Over);
        };
        let service_time = &ServiceTime::default();
        let crew = Crew {
            service_time,
            threads: 1,
        };
        let mut rest = bytes;
        loop {
            let next = batch.fill(session, crew, |buf, _| match rest.len().min(buf.len()) {
                0 => Err(Wanting),
                len => {
                    let (now, later) = rest.split_at(len);
                    buf[..len].copy_from_slice(now);
                    rest = later;
                    Ok(len)
                }
            });
            let Ok(next) = next else {
                return Ok(Progress::Open);
            };
            let done = batch.execute(session, |replies, _| {
                out.extend_from_slice(replies);
                Ok::<(), Infallible>(())
            });
            if let Err(Unanswered::Failed(_)) = done {
                self.stage = Stage::Over;
                return Ok(Progress::Over);
            }
            match next {
                Next::Full | Next::Part => {}
                Next::Goodbye | Next::Gone { .. } => {
                    self.stage = Stage::Over;
                    return Ok(Progress::Over);
                }
                Next::Broken(violation) => return Err(violation),
            }
        }
    }
}

/// The error of a read without bytes left: more must come first.
struct Wanting;
