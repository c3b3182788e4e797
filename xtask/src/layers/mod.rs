//! `layers`: who may depend on whom, and what source files may say.
//!
//! | module | rules |
//! |---|---|
//! | [`circles`] | the files of a crate import one another in no circle, and folders in one direction |
//! | [`imports`] | the imports of a crate's files |
//! | [`order`] | dependencies point down the list of crates; every crate takes the workspace's lints |
//! | [`source`] | atomics only in zs-sync, system calls only in zs-os, unsafe only where listed, lengths |
//! | [`tokens`] | Rust source as tokens: comments and strings do not count |

mod circles;
mod imports;
mod order;
mod source;
mod tokens;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<String> {
    let mut found = Findings::default();
    let crates = order::check(workspace, &mut found)?;
    let files = source::check(workspace, &mut found)?;
    circles::check(workspace, &mut found)?;
    for warning in &found.warnings {
        println!("warning: {warning}");
    }
    for error in &found.errors {
        println!("error: {error}");
    }
    match found.errors.len() {
        0 => Ok(format!("{crates} crates, {files} files")),
        1 => bail!("1 rule broken"),
        many => bail!("{many} rules broken"),
    }
}

/// What the rules complain about; all of it is printed, not only the first.
#[derive(Debug, Default)]
struct Findings {
    warnings: Vec<String>,
    errors: Vec<String>,
}
