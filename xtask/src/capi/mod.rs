//! `capi`: libzsmalloc as C and C++ programs see it.
//!
//! Data model: `crates/zs-capi -> headers, compared with the committed ones`; `-> library ->
//! installed in target/capi/prefix -> found by pkg-config -> programs, compiled by each compiler in
//! each language, and run`.
//!
//! | module | responsibility |
//! |---|---|
//! | [`header`] | the headers generated, and compared or written |
//! | [`library`] | the library built, laid out as it is installed, its symbols |
//! | [`programs`] | what is compiled and run: examples, tests, the blocks of the documentation |
//! | [`watched`] | the same under AddressSanitizer and valgrind, proved by a seeded fault |
//! | [`clients`] | programs of earlier days, as they were compiled then |
//!
//! In CI (`CI` is set) what is missing of the compilers, valgrind and pkg-config is installed;
//! elsewhere it is left out, and the verdict says so.

mod clients;
mod header;
mod library;
mod programs;
mod watched;

use std::path::Path;

use anyhow::Result;

use crate::cli::CapiArgs;
use crate::command::Cmd;
use crate::workspace::Workspace;

/// The crate.
const CRATE: &str = "crates/zs-capi";

pub(crate) fn run(workspace: &Workspace, args: &CapiArgs) -> Result<String> {
    if args.write {
        header::write(workspace)?;
        return Ok("headers written".to_owned());
    }
    if let Some(prefix) = &args.install {
        library::build(workspace)?.install(&std::path::absolute(prefix)?)?;
        return Ok(format!("installed in {}", prefix.display()));
    }
    let missing = install_tools(workspace)?;
    header::compare(workspace)?;
    let prefix = workspace.target_dir("capi").join("prefix");
    let library = library::build(workspace)?;
    library.install(&prefix)?;
    library.check_symbols()?;
    let programs = programs::run(workspace, &prefix)?;
    let clients = clients::run(workspace, &prefix)?;
    let watched = watched::run(workspace, &prefix)?;
    let mut note = format!("{programs}; {clients}; {watched}");
    if !missing.is_empty() {
        note.push_str(&format!("; NOT RUN for want of {}", missing.join(", ")));
    }
    Ok(note)
}

/// Programs, and the packages of Debian that have them.
const TOOLS: [(&str, &str); 5] = [
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("clang", "clang"),
    ("valgrind", "valgrind"),
    ("pkg-config", "pkgconf"),
];

/// Whether a program is in one of the folders of `PATH`.
fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).exists())
}

/// Installs what is missing if this is a machine of CI; returns what is missing still.
fn install_tools(workspace: &Workspace) -> Result<Vec<&'static str>> {
    let missing = || TOOLS.iter().filter(|(tool, _)| !has(tool));
    if missing().next().is_some() && std::env::var_os("CI").is_some() && has("apt-get") {
        let packages = missing().map(|(_, package)| package);
        let apt = |arguments: &[&str]| {
            // Another step may be installing something, too: see xtask/cgroup-vm.sh.
            Cmd::new("flock", workspace)
                .args(["/tmp/zs-apt.lock", "apt-get", "-qq"])
                .args(arguments)
        };
        // Without a network there is nothing to install; the note tells.
        let updated = apt(&["update"]).run();
        let installed = updated.and_then(|()| {
            apt(&["install", "-y", "--no-install-recommends"])
                .args(packages)
                .run()
        });
        if let Err(error) = installed {
            println!("{error:#}");
        }
    }
    Ok(missing().map(|(tool, _)| *tool).collect())
}

/// The name of a file without its ending, for messages and programs.
fn stem(file: &Path) -> String {
    file.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
