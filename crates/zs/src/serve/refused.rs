//! The answer to an order that is refused.

use std::io;
use zram::Error;

/// A text for people: what was wrong, and what is allowed.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::NoBacking => {
                "there is no backing to write to: the server was started without --backing"
                    .to_owned()
            }
            other => other.to_string(),
        })
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

pub(super) fn refuse<T>(text: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(text.into()))
}
