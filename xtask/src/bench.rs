//! `bench allocators`: this project beside other allocators, those that can be built; `bench nbd`:
//! its server beside others; `bench store`: its block store beside its codec and the kernel's.

use std::ffi::OsString;

use anyhow::Result;

use crate::command::Cmd;
use crate::workspace::Workspace;

/// Rivals that are built only here: features of `bench-rivals`.
const RIVALS: [&str; 2] = ["jemalloc", "snmalloc"];

/// Builds the benchmark with every rival that can be built, and runs it with `args`.
pub(crate) fn allocators(workspace: &Workspace, args: &[OsString]) -> Result<String> {
    let built = buildable(workspace);
    build(workspace, &built).run()?;
    let absent = RIVALS.iter().filter(|rival| !built.contains(rival));
    let absent = absent.map(|rival| {
        let line = build(workspace, &[*rival]).line();
        format!("--absent={rival}=it does not build here, see: {line}")
    });
    let program = workspace.target_dir("release").join("bench-rivals");
    Cmd::program(workspace, &program)
        .arg("allocators")
        .args(absent)
        .args(args)
        .run()?;
    Ok(match built.len() {
        count if count == RIVALS.len() => String::new(),
        _ => "without the rivals that do not build".to_owned(),
    })
}

/// Builds `zs` as its users do, and the benchmark, which finds it beside itself, and runs that with
/// `args`.
pub(crate) fn nbd(workspace: &Workspace, args: &[OsString]) -> Result<String> {
    let release = ["build", "--release", "-p", "zs"];
    Cmd::cargo(workspace).args(release).run()?;
    own(workspace, "nbd", args)
}

/// The block store beside its codec and the kernel's zram.
pub(crate) fn store(workspace: &Workspace, args: &[OsString]) -> Result<String> {
    own(workspace, "store", args)
}

/// Builds this project's own benchmarks, and runs one of them with `args`.
fn own(workspace: &Workspace, verb: &str, args: &[OsString]) -> Result<String> {
    let release = ["build", "--release", "-p", "bench-own"];
    Cmd::cargo(workspace).args(release).run()?;
    let program = workspace.target_dir("release").join("bench-own");
    let bench = Cmd::program(workspace, &program).arg(verb).args(args);
    bench.run()?;
    Ok(String::new())
}

/// All of them, or else those that build alone.
fn buildable(workspace: &Workspace) -> Vec<&'static str> {
    if build(workspace, &RIVALS).run().is_ok() {
        return RIVALS.to_vec();
    }
    let alone = |rival: &&str| build(workspace, &[*rival]).run().is_ok();
    RIVALS.into_iter().filter(alone).collect()
}

fn build(workspace: &Workspace, features: &[&str]) -> Cmd {
    Cmd::cargo(workspace)
        .args(["build", "--release", "-p", "bench-rivals", "--features"])
        .arg(features.join(","))
}
