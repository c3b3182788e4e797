//! The whole protocol without a socket.

use crate::batch::{Batch, Next};
use crate::export::Exports;
use crate::proto::{Handshake, Security, Step, Violation};
use crate::session::Session;

/// One connection in clear, as a function from bytes to bytes: for transports that are no sockets, for tests and fuzzing.
///
/// What comes out does not depend on how the input is cut into pieces.
#[derive(Debug)]
pub struct Dialogue<'a> {
    stage: Stage<'a>,
    pending: Vec<u8>,
}

#[derive(Debug)]
enum Stage<'a> {
    Handshake(Handshake<'a>),
    Requests(Session, Box<Batch>),
    Over,
}

/// Whether a dialogue goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for more.
    Open,
    /// The client said goodbye.
    Over,
}

impl<'a> Dialogue<'a> {
    /// Begins one; `out` gets the greeting.
    pub fn new(exports: &'a Exports, out: &mut Vec<u8>) -> Self {
        Self {
            stage: Stage::Handshake(Handshake::new(exports, Security::Clear, out)),
            pending: Vec::new(),
        }
    }

    /// Takes bytes of the client, and appends the answers.
    ///
    /// # Errors
    /// [`Violation`] if the protocol has no answer: the connection has to be closed. What has been appended is still to be sent.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, Violation> {
        self.pending.extend_from_slice(bytes);
        if let Stage::Handshake(handshake) = &mut self.stage {
            let (taken, step) = handshake.advance(&self.pending, out)?;
            self.pending.drain(..taken);
            match step {
                Step::More => return Ok(Progress::Open),
                Step::End | Step::StartTls => self.stage = Stage::Over,
                Step::Begin(agreement) => {
                    let session = Session::new(agreement);
                    let batch = Box::new(Batch::new(&session));
                    self.stage = Stage::Requests(session, batch);
                }
            }
        }
        self.requests(out)
    }

    fn requests(&mut self, out: &mut Vec<u8>) -> Result<Progress, Violation> {
        let Stage::Requests(session, batch) = &mut self.stage else {
            return Ok(Progress::Over);
        };
        loop {
            batch.begin(&self.pending);
            let next = batch.cut(session);
            self.pending.clear();
            self.pending.extend_from_slice(batch.rest());
            let Ok(()) = batch.execute(session, |replies| {
                out.extend_from_slice(replies);
                Ok::<(), std::convert::Infallible>(())
            });
            batch.shrink();
            match next {
                Next::Full => {}
                Next::Part(_) => return Ok(Progress::Open),
                Next::Goodbye => {
                    self.stage = Stage::Over;
                    return Ok(Progress::Over);
                }
                Next::Broken(violation) => return Err(violation),
            }
        }
    }
}
