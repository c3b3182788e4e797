//! An allocator among those that are compared.

use super::child::Job;
use anyhow::Result;

/// An allocator, and how it is measured in a process that does nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Contender {
    /// As the figures name it.
    pub name: &'static str,
    /// Measures; called in the child.
    pub measure: fn(&Job) -> Result<()>,
    /// What its environment must say so that it asks for huge pages; `None` if it has no such
    /// option.
    pub huge: Option<&'static [(&'static str, &'static str)]>,
    /// Whether it is measured only if `--only` names it.
    pub on_request: bool,
}

/// What is appended to the name of an allocator that was asked for huge pages.
pub(super) const HUGE: &str = "+huge";
