//! Options and requests that were answered with an error. Each kind is reported once for a client.
//!
//! # Locking
//! The set of kinds has a lock, held for a few instructions.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// An option or a request that was answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    asked: &'static str,
    detail: String,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused: {}", self.asked, self.detail)
    }
}

/// Reports the errors that one client was answered with.
pub(crate) struct Refusals {
    tell: Box<dyn Fn(Declined) + Send + Sync>,
    told: Mutex<HashSet<(&'static str, &'static str)>>,
}

impl Refusals {
    /// Makes a reporter that calls `tell` with the first refusal of each kind.
    pub(crate) fn new(tell: impl Fn(Declined) + Send + Sync + 'static) -> Self {
        Self {
            tell: Box::new(tell),
            told: Mutex::default(),
        }
    }

    /// Makes a reporter that reports nothing.
    pub(crate) fn untold() -> Self {
        Self::new(|_| ())
    }

    /// Reports that the option or request `asked` was refused, unless this kind was reported
    /// before. Both `asked` and `kind` come from short fixed lists, so the memory of a client is
    /// bounded.
    pub(crate) fn note(&self, asked: &'static str, kind: &'static str, detail: &str) {
        let is_new = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert((asked, kind))
        };
        if is_new {
            let detail = detail.to_owned();
            (self.tell)(Declined { asked, detail });
        }
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn each_kind_is_told_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&told);
        let refusals = Refusals::new(move |declined| kept.lock().unwrap().push(declined));
        refusals.note("NBD_CMD_READ", "past the end", "offset 7: past the end");
        refusals.note("NBD_CMD_READ", "past the end", "offset 9: past the end");
        refusals.note("NBD_CMD_READ", "flags", "flags 0x8000");
        refusals.note("NBD_CMD_TRIM", "flags", "flags 0x8000");
        let told: Vec<String> = told
            .lock()
            .unwrap()
            .iter()
            .map(Declined::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "NBD_CMD_READ refused: offset 7: past the end",
                "NBD_CMD_READ refused: flags 0x8000",
                "NBD_CMD_TRIM refused: flags 0x8000",
            ]
        );
    }
}
