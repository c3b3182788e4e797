//! `loom` and `schedules`: tests of the shipped code on another arm of `zs-sync`, chosen by a
//! `--cfg`.

use anyhow::{Result, bail};
use cargo_metadata::TargetKind;

use crate::checks;
use crate::cli::ArmArgs;
use crate::command::Cmd;
use crate::workspace::Workspace;

/// A model with more preemptions than this takes hours; nearly all bugs need two or fewer.
const MAX_PREEMPTIONS: &str = "2";

/// An arm of `zs-sync` beside the one that ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// All interleavings of a tiny scenario.
    Loom,
    /// Seeded interleavings of a large one.
    Schedule,
}

impl Arm {
    /// The verb; also the build folder, since every flag means other objects.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Loom => "loom",
            Self::Schedule => "schedules",
        }
    }

    /// Test targets with this prefix belong to the arm: `crates/*/tests/loom_*.rs`.
    fn prefix(self) -> &'static str {
        match self {
            Self::Loom => "loom_",
            Self::Schedule => "schedule_",
        }
    }

    fn flags(self) -> &'static str {
        match self {
            Self::Loom => "--cfg zs_loom",
            Self::Schedule => "--cfg zs_schedule",
        }
    }

    /// What a build takes longest for is what a model hardly runs.
    fn profile(self) -> &'static str {
        match self {
            Self::Loom => "model",
            Self::Schedule => "checked",
        }
    }

    /// Sets what `cargo test` needs to build and run on this arm.
    pub(crate) fn configured(self, command: Cmd) -> Cmd {
        let command = command
            .env("RUSTFLAGS", self.flags())
            .args(["--profile", self.profile()]);
        match self {
            Self::Loom => command.env_default("LOOM_MAX_PREEMPTIONS", MAX_PREEMPTIONS),
            Self::Schedule => command,
        }
    }
}

pub(crate) fn run(workspace: &Workspace, arm: Arm, args: &ArmArgs) -> Result<String> {
    let mut output = String::new();
    for (package, targets) in targets(workspace, arm, args.target.as_deref())? {
        let mut command = arm
            .configured(Cmd::cargo(workspace).args(["test", "-p", &package]))
            // Clippy does not see what only this arm compiles.
            .env("RUSTFLAGS", format!("{} -D warnings", arm.flags()))
            .env("CARGO_TARGET_DIR", workspace.target_dir(arm.verb()));
        for target in &targets {
            command = command.args(["--test", target]);
        }
        command = command.arg("--").args(args.filter.as_deref());
        output.push_str(&command.run_and_read()?);
    }
    checks::some_passed(&output)
}

/// Packages and their targets of an arm. Only these are built: with its `--cfg` no other target of
/// the workspace need compile.
fn targets(
    workspace: &Workspace,
    arm: Arm,
    only: Option<&str>,
) -> Result<Vec<(String, Vec<String>)>> {
    let prefix = arm.prefix();
    let mut found = Vec::new();
    for package in workspace.members()?.packages {
        let targets: Vec<String> = package
            .targets
            .iter()
            .filter(|target| target.kind.contains(&TargetKind::Test))
            .map(|target| target.name.clone())
            .filter(|name| name.starts_with(prefix) && only.is_none_or(|only| name == only))
            .collect();
        if !targets.is_empty() {
            found.push((package.name.to_string(), targets));
        }
    }
    match (found.is_empty(), only) {
        (false, _) => Ok(found),
        (true, Some(name)) => bail!("no target of `{}` is named {name}", arm.verb()),
        (true, None) => bail!("no test target is named {prefix}*"),
    }
}
