//! Programs against the installed library: examples, tests, and the C blocks of the documentation,
//! compiled with warnings as errors by each compiler as C11 and as C++17, and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::library::BESIDE_STATIC;
use super::{CRATE, has, stem};
use crate::command::{Cmd, Ended};
use crate::report::Failure;
use crate::workspace::Workspace;

/// A compiler and a language.
const COMPILERS: [(&str, &[&str]); 4] = [
    ("gcc", &["-std=c11"]),
    ("g++", &["-std=c++17", "-x", "c++"]),
    ("clang", &["-std=c11"]),
    ("clang++", &["-std=c++17", "-x", "c++"]),
];

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// The longest takes a second.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Documents whose C blocks must be programs, or parts of programs that compile.
const DOCUMENTS: [&str; 2] = ["README.md", "docs/c.md"];

/// A program and its arguments.
pub(super) struct Program {
    pub(super) source: PathBuf,
    pub(super) arguments: &'static [&'static str],
    /// It has a `main`; a part of a program is only compiled.
    pub(super) whole: bool,
}

/// All programs that must pass.
pub(super) fn all() -> Vec<Program> {
    let program = |source: &str, arguments| Program {
        source: source.into(),
        arguments,
        whole: true,
    };
    let test = |name: &str| program(&format!("{CRATE}/tests/c/{name}.c"), &[]);
    vec![
        program("examples/c/minimal.c", &[]),
        program("examples/c/cache.c", &[]),
        program("examples/c/stress.c", &["4", "20000", "4000"]),
        test("bad_input"),
        test("forks"),
        test("kernel_names"),
        test("threads"),
    ]
}

pub(super) fn run(workspace: &Workspace, prefix: &Path) -> Result<String> {
    let folder = workspace.target_dir("capi").join("programs");
    fs::create_dir_all(&folder)?;
    let dynamic = pkg_config(workspace, prefix)?;
    let mut count = 0;
    let mut sources = all();
    sources.extend(blocks(workspace, &folder)?);
    for (compiler, language) in COMPILERS.iter().filter(|(compiler, _)| has(compiler)) {
        for program in &sources {
            let built = folder.join(format!("{}-{compiler}", stem(&program.source)));
            let compile = Cmd::new(compiler, workspace)
                .args(*language)
                .args(WARNINGS)
                .args(["-O1", "-g"])
                .arg(&program.source)
                .args(["-x", "none", "-o"])
                .arg(&built);
            if program.whole {
                compile.args(&dynamic).arg("-lpthread").run()?;
                passes(workspace, prefix, &built, program.arguments)?;
            } else {
                // clang complains of libraries where nothing is linked.
                let headers = dynamic.iter().filter(|flag| flag.starts_with("-I"));
                compile.arg("-c").args(headers).run()?;
            }
            count += 1;
        }
    }
    statically(workspace, prefix, &folder)?;
    if count == 0 {
        bail!("no C compiler: gcc or clang is needed");
    }
    Ok(format!("{count} programs of C and C++ passed"))
}

/// What pkg-config says about the installed library; where there is none, what it would say.
fn pkg_config(workspace: &Workspace, prefix: &Path) -> Result<Vec<String>> {
    if !has("pkg-config") {
        let (include, lib) = (prefix.join("include"), prefix.join("lib"));
        let flags = [
            format!("-I{}", include.display()),
            format!("-L{}", lib.display()),
            "-lzsmalloc".to_owned(),
        ];
        return Ok(flags.into());
    }
    let said = Cmd::new("pkg-config", workspace)
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .args(["--cflags", "--libs", "zsmalloc"])
        .run_and_read()?;
    Ok(said.split_whitespace().map(str::to_owned).collect())
}

/// The static library has all that is needed, too.
fn statically(workspace: &Workspace, prefix: &Path, folder: &Path) -> Result<()> {
    let built = folder.join("minimal-static");
    Cmd::new("gcc", workspace)
        .arg("examples/c/minimal.c")
        .arg("-I")
        .arg(prefix.join("include"))
        .arg("-o")
        .arg(&built)
        .arg(prefix.join("lib/libzsmalloc.a"))
        .args(BESIDE_STATIC)
        .run()?;
    Cmd::program(workspace, &built).run()
}

/// Runs a program, which must pass.
pub(super) fn passes(
    workspace: &Workspace,
    prefix: &Path,
    program: &Path,
    arguments: &[&str],
) -> Result<()> {
    let command = Cmd::program(workspace, program)
        .env("LD_LIBRARY_PATH", prefix.join("lib"))
        .args(arguments);
    let line = command.line();
    let (ended, output) = ended(command, program)?;
    if ended == Ended::Passed {
        return Ok(());
    }
    println!("{output}");
    Err(Failure::new(format!("{}: {ended:?}", program.display()), line).into())
}

/// Runs a command, with what it says in a file beside `program`.
pub(super) fn ended(command: Cmd, program: &Path) -> Result<(Ended, String)> {
    let log = program.with_extension("log");
    let ended = command.run_into(&log, LIMIT)?;
    let output = fs::read(&log).with_context(|| log.display().to_string())?;
    Ok((ended, String::from_utf8_lossy(&output).into_owned()))
}

/// The blocks marked as C in the documents, as files of their own.
fn blocks(workspace: &Workspace, folder: &Path) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for document in DOCUMENTS {
        let text = workspace.read(Path::new(document))?;
        let found = c_blocks(&text);
        if found.is_empty() {
            bail!("{document} has no block of C");
        }
        for (number, block) in found.iter().enumerate() {
            let name = format!("{}-{}.c", stem(Path::new(document)), number + 1);
            let source = folder.join(name);
            fs::write(&source, format!("{block}\n"))?;
            programs.push(Program {
                source,
                arguments: &[],
                whole: block.contains("int main("),
            });
        }
    }
    Ok(programs)
}

fn c_blocks(text: &str) -> Vec<&str> {
    let after_fence = text.split("\n```c\n").skip(1);
    after_fence
        .filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::c_blocks;

    #[test]
    fn blocks_are_those_marked_as_c() {
        let text = "a\n```c\nint b;\n```\n```rust\nc\n```\n```c\nint d;\nint e;\n```\n";
        assert_eq!(c_blocks(text), ["int b;", "int d;\nint e;"]);
        assert!(c_blocks("```console\n$ c\n```\n").is_empty());
    }
}
