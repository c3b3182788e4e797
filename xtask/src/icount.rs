//! `icount`: instructions of an operation, by callgrind, against a baseline.
//!
//! Data model: `bench-own icount OPERATION, under valgrind -> instructions collected / operations
//! done -> CSV`.
//!
//! Instructions are the same on a busy machine, so they decide about a change where a clock cannot.
//! They are not the same with another compiler or C library (`memcpy` is the library's): the
//! baseline says with which it was taken, and is written anew (`--write`) by whoever changes those.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::Cmd;
use crate::workspace::Workspace;

const BASELINE: &str = "bench/results/icount.csv";

const OPERATIONS: [&str; 6] = ["insert", "read", "read-many", "free", "churn", "compact"];

/// By how many percent an operation may have more instructions than the baseline says.
const TOLERANCE: f64 = 2.0;

const HEADER: &str = "operation,operations,instructions,per_operation";

/// One operation's count.
#[derive(Debug, Clone, PartialEq)]
struct Count {
    operation: String,
    operations: u64,
    instructions: u64,
}

impl Count {
    fn per_operation(&self) -> f64 {
        self.instructions as f64 / self.operations as f64
    }
}

/// Counts, and compares or writes.
pub(crate) fn run(workspace: &Workspace, write: bool) -> Result<String> {
    let tool = version(
        "valgrind",
        "install it by `apt-get install valgrind`, or your system's way",
    )?;
    let compiler = version("rustc", "it comes with rustup")?;
    Cmd::cargo(workspace)
        .args(["build", "--release", "-p", "bench-own"])
        .run()?;
    let counts = OPERATIONS.map(|operation| count(workspace, operation));
    let counts: Vec<Count> = counts.into_iter().collect::<Result<_>>()?;
    let heading = format!("# {compiler}, {tool}; see xtask/src/icount.rs");
    if write {
        fs::write(workspace.root().join(BASELINE), csv(&heading, &counts))?;
        return Ok(format!("{BASELINE} is written"));
    }
    let text = workspace.read(BASELINE.as_ref())?;
    if text.lines().next() != Some(&heading) {
        let taken = text.lines().next().unwrap_or_default();
        println!("the baseline was taken with {taken}\nnow it is      {heading}");
    }
    compare(&parse(&text)?, &counts)
}

/// What a tool says of its version; how to get it, if it is not there.
fn version(tool: &str, get: &str) -> Result<String> {
    let said = Command::new(tool).arg("--version").output();
    let said = said.with_context(|| format!("{tool} is needed: {get}"))?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

fn count(workspace: &Workspace, operation: &str) -> Result<Count> {
    let program = workspace.target_dir("release").join("bench-own");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=bench_own::icount::counted*")
        .arg(program)
        .args(["icount", operation]);
    let said = valgrind.output().context("valgrind")?;
    let (out, errors) = (
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
    );
    ensure!(said.status.success(), "{operation}: {errors}");
    let collected = errors
        .lines()
        .find_map(|line| line.split_once("Collected :"));
    let (_, instructions) = collected.with_context(|| format!("no count in: {errors}"))?;
    let count = Count {
        operation: operation.to_owned(),
        operations: out.trim().parse().with_context(|| format!("{out:?}"))?,
        instructions: instructions.trim().parse()?,
    };
    ensure!(
        count.instructions > 0,
        "valgrind counted nothing of {operation}"
    );
    println!(
        "{operation:<10} {:>8.1} instructions",
        count.per_operation()
    );
    Ok(count)
}

fn csv(heading: &str, counts: &[Count]) -> String {
    let mut csv = format!("{heading}\n{HEADER}\n");
    for count in counts {
        let Count {
            operation,
            operations,
            instructions,
        } = count;
        let each = count.per_operation();
        csv.push_str(&format!(
            "{operation},{operations},{instructions},{each:.1}\n"
        ));
    }
    csv
}

fn parse(csv: &str) -> Result<Vec<Count>> {
    let mut lines = csv.lines().filter(|line| !line.starts_with('#'));
    ensure!(
        lines.next() == Some(HEADER),
        "{BASELINE}: the columns are not {HEADER}"
    );
    let count = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let [operation, operations, instructions, _] = fields[..] else {
            bail!("{BASELINE}: not four fields: {line}");
        };
        Ok(Count {
            operation: operation.to_owned(),
            operations: operations.parse().with_context(|| line.to_owned())?,
            instructions: instructions.parse().with_context(|| line.to_owned())?,
        })
    };
    lines.map(count).collect()
}

/// Prints each change; an error if one is beyond the tolerance, or an operation is in only one of
/// the two.
fn compare(baseline: &[Count], counts: &[Count]) -> Result<String> {
    let mut worse = Vec::new();
    for count in counts {
        let name = &count.operation;
        let known = baseline.iter().find(|known| known.operation == *name);
        let known = known.with_context(|| format!("{BASELINE} has no {name}: --write it anew"))?;
        let change = (count.per_operation() / known.per_operation() - 1.0) * 100.0;
        println!("{name:<10} {change:>+8.2} %");
        if change > TOLERANCE {
            worse.push(format!("{name} {change:+.2} %"));
        }
    }
    ensure!(
        worse.is_empty(),
        "more than {TOLERANCE} % over {BASELINE}: {}",
        worse.join(", ")
    );
    Ok(format!(
        "no operation is more than {TOLERANCE} % over {BASELINE}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(operation: &str, instructions: u64) -> Count {
        Count {
            operation: operation.to_owned(),
            operations: 100,
            instructions,
        }
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let counts = [counted("insert", 50_050), counted("read", 20_000)];
        let csv = csv("# with this and that", &counts);
        assert!(
            csv.ends_with("insert,100,50050,500.5\nread,100,20000,200.0\n"),
            "{csv}"
        );
        assert_eq!(parse(&csv).expect("it parses"), counts);
        assert!(parse("operation\n").is_err());
        assert!(parse(&format!("{HEADER}\ninsert,1\n")).is_err());
    }

    #[test]
    fn more_than_the_tolerance_fails_and_less_passes() {
        let baseline = [counted("insert", 50_000), counted("read", 20_000)];
        let now = |insert, read| {
            compare(
                &baseline,
                &[counted("insert", insert), counted("read", read)],
            )
        };
        now(50_900, 10_000).expect("within 2 %, and better");
        let error = now(51_100, 20_000).expect_err("2.2 %").to_string();
        assert!(
            error.contains("insert +2.20 %") && !error.contains("read +"),
            "{error}"
        );
        assert!(compare(&baseline, &[counted("free", 1)]).is_err());
    }
}
