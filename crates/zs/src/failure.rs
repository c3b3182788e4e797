//! The end of the tool: its exit codes, and the text of a failure.

use std::io::{self, Write as _};
use std::process::ExitCode;

/// The work was done as far as the limit allowed; the report says how far.
pub(crate) const LIMIT_REACHED: u8 = 3;

/// Why the tool ends without having done its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments are wrong: exit code 2.
    Usage(String),
    /// Something else is: exit code 1.
    Failed(String),
    /// All that there is to say is printed, or nobody reads it any more.
    Silent(ExitCode),
}

impl Failure {
    /// Says what is wrong, on standard error; returns the exit code.
    pub(crate) fn end(self) -> ExitCode {
        // Nobody is left to be told that standard error is closed.
        self.tell(|line| drop(write!(io::stderr(), "{line}")))
    }

    /// Hands the line that says what is wrong to `say`; returns the exit code.
    pub(crate) fn tell(self, say: impl FnOnce(&str)) -> ExitCode {
        let (text, code) = match self {
            Self::Usage(text) => (text, 2),
            Self::Failed(text) => (text, 1),
            Self::Silent(code) => return code,
        };
        say(&format!("zs: {}\n", text.trim_end()));
        ExitCode::from(code)
    }
}

impl From<zs_pages::Error> for Failure {
    fn from(error: zs_pages::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Makes a failure of what a library says.
pub(crate) fn failed(what: impl std::fmt::Display) -> Failure {
    Failure::Failed(what.to_string())
}
