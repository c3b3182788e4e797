//! `loom`: the model tests, built with `--cfg zs_loom`.

use anyhow::{Result, bail};
use cargo_metadata::TargetKind;

use crate::checks;
use crate::cli::LoomArgs;
use crate::command::Cmd;
use crate::workspace::Workspace;

/// Test targets with this prefix are models: `crates/*/tests/loom_*.rs`.
const PREFIX: &str = "loom_";

/// A model with more preemptions than this takes hours; nearly all bugs need two or fewer.
const MAX_PREEMPTIONS: &str = "2";

pub(crate) fn run(workspace: &Workspace, args: &LoomArgs) -> Result<String> {
    let mut output = String::new();
    for (package, targets) in models(workspace, args.target.as_deref())? {
        let mut command = configured(Cmd::cargo(workspace))
            .env("CARGO_TARGET_DIR", workspace.target_dir("loom"))
            .args(["test", "--profile", "checked", "-p", &package]);
        for target in &targets {
            command = command.args(["--test", target]);
        }
        command = command.arg("--").args(args.filter.as_deref());
        output.push_str(&command.run_and_read()?);
    }
    checks::some_passed(&output)
}

/// Sets what a build and a run of models need.
pub(crate) fn configured(command: Cmd) -> Cmd {
    command
        .env("RUSTFLAGS", "--cfg zs_loom")
        .env_default("LOOM_MAX_PREEMPTIONS", MAX_PREEMPTIONS)
}

/// Packages and their model targets. Only these are built: with `zs_loom` no other target of the
/// workspace need compile.
fn models(workspace: &Workspace, only: Option<&str>) -> Result<Vec<(String, Vec<String>)>> {
    let mut found = Vec::new();
    for package in workspace.members()?.packages {
        let targets: Vec<String> = package
            .targets
            .iter()
            .filter(|target| target.kind.contains(&TargetKind::Test))
            .map(|target| target.name.clone())
            .filter(|name| name.starts_with(PREFIX) && only.is_none_or(|only| name == only))
            .collect();
        if !targets.is_empty() {
            found.push((package.name.to_string(), targets));
        }
    }
    match (found.is_empty(), only) {
        (false, _) => Ok(found),
        (true, Some(name)) => bail!("no model target is named {name}"),
        (true, None) => bail!("no test target is named {PREFIX}*"),
    }
}
