//! `mutants`: break the code as listed in `xtask/mutations.toml` and require that the named test
//! notices.
//!
//! A test that has never failed proves little. Each entry of the list is one replacement in one
//! file and the one test that must fail because of it, as a test: a mutation that does not
//! compile, passes or hangs is a failure of this verb. The same tests first have to pass on the
//! unchanged copy.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@few`] | which of them a short run takes |
//! | [`list`] | the file format, and applying one replacement |
//! | [`tree`] | the copy of the workspace that gets broken |
//! | [`verdict`] | what a run of a test says about a mutation |

mod few;
mod list;
mod tree;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::list::{Cfg, Mutation, TestRef};
use self::tree::Tree;
use self::verdict::Verdict;
use crate::arms::Arm;
use crate::cli::MutantsArgs;
use crate::command::{Cmd, Ended};
use crate::report::Failure;
use crate::workspace::Workspace;

const LIST: &str = "xtask/mutations.toml";

/// The summary of the last run of everything; its first line names the commit.
const FULL_RUN: &str = "bench/results/ci-full.txt";

/// A first build compiles every dependency.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);
const TEST_LIMIT: Duration = Duration::from_secs(300);

/// Lines of a log that are shown when a run ends otherwise than it must.
const SHOWN_LINES: usize = 30;

/// One line of the summary.
struct Row<'a> {
    mutation: &'a Mutation,
    verdict: Verdict,
    seconds: f64,
}

pub(crate) fn print_list(workspace: &Workspace, args: &MutantsArgs) -> Result<()> {
    for mutation in &selected(workspace, args)? {
        println!("{}", mutation.name);
        println!("    file  {}", mutation.file);
        println!("    test  {} ({})", mutation.test, mutation.cfg.name());
        println!("    why   {}", mutation.why);
    }
    Ok(())
}

pub(crate) fn run(workspace: &Workspace, args: &MutantsArgs) -> Result<String> {
    let mut mutations = selected(workspace, args)?;
    // Before anything is built: an entry that no longer applies costs no waiting.
    for mutation in &mutations {
        mutation.apply(&workspace.read(Path::new(&mutation.file))?)?;
    }
    let mut note = String::new();
    if args.few {
        let all = mutations.len();
        mutations = few(workspace, mutations);
        note = format!("; {} of {all}, `--full` runs all", mutations.len());
    }
    let bench = Bench::new(workspace)?;
    bench.check_unchanged(&mutations)?;
    let mut rows = Vec::new();
    for mutation in &mutations {
        println!("-- {}", mutation.name);
        let start = Instant::now();
        let verdict = bench.check(mutation)?;
        println!("{}", verdict.words());
        rows.push(Row {
            mutation,
            verdict,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    print_table(&rows);
    Ok(conclude(&rows)? + &note)
}

/// Returns the mutations of a short run.
fn few(workspace: &Workspace, mutations: Vec<Mutation>) -> Vec<Mutation> {
    let base = workspace
        .read(Path::new(FULL_RUN))
        .ok()
        .and_then(|text| Some(text.lines().next()?.strip_prefix("commit ")?.to_owned()));
    let changed = base.and_then(|base| workspace.changed_since(&base));
    // The same commit has the same turn.
    let turn = workspace.commit().unwrap_or_default();
    let turn = turn.bytes().map(usize::from).sum();
    few::choose(mutations, changed.as_deref(), turn)
}

/// The entries whose name contains the filter.
fn selected(workspace: &Workspace, args: &MutantsArgs) -> Result<Vec<Mutation>> {
    let text = workspace.read(Path::new(LIST))?;
    let mut mutations = list::parse(&text).context(LIST)?;
    if let Some(filter) = &args.filter {
        mutations.retain(|mutation| mutation.name.contains(filter.as_str()));
        if mutations.is_empty() {
            bail!("no mutation's name contains {filter}");
        }
    }
    Ok(mutations)
}

fn print_table(rows: &[Row<'_>]) {
    let width = rows.iter().map(|row| row.mutation.name.len()).max();
    let width = width.unwrap_or(0).max("mutation".len());
    println!(
        "{:<width$}  {:<14} {:>7}  test",
        "mutation", "verdict", "seconds"
    );
    for row in rows {
        println!(
            "{:<width$}  {:<14} {:>7.1}  {}",
            row.mutation.name,
            row.verdict.short(),
            row.seconds,
            row.mutation.test,
        );
    }
}

fn conclude(rows: &[Row<'_>]) -> Result<String> {
    let missed: Vec<&str> = rows
        .iter()
        .filter(|row| row.verdict != Verdict::Noticed)
        .map(|row| row.mutation.name.as_str())
        .collect();
    let Some(first) = missed.first() else {
        return Ok(format!("mutations noticed: {}", rows.len()));
    };
    Err(Failure::new(
        format!("{} of {}: {}", missed.len(), rows.len(), missed.join(", ")),
        format!("cargo xtask mutants {first}"),
    )
    .into())
}

/// The copy, and where its builds and logs go.
struct Bench<'a> {
    workspace: &'a Workspace,
    tree: Tree,
    folder: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(workspace: &'a Workspace) -> Result<Self> {
        let folder = workspace.target_dir("mutants");
        fs::create_dir_all(folder.join("logs"))?;
        Ok(Self {
            workspace,
            tree: Tree::refresh(workspace, folder.join("tree"))?,
            folder,
        })
    }

    /// Runs every distinct test once on the unchanged copy; all of them must pass.
    fn check_unchanged(&self, mutations: &[Mutation]) -> Result<()> {
        let mut seen: Vec<(&TestRef, Cfg)> = Vec::new();
        for mutation in mutations {
            let key = (&mutation.test, mutation.cfg);
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            println!("-- unchanged: {} ({})", mutation.test, mutation.cfg.name());
            let verdict = self.run_test("unchanged", &mutation.test, mutation.cfg)?;
            if verdict != Verdict::Passed {
                let test = &mutation.test;
                bail!("unchanged code, test {test}: {}", verdict.words());
            }
        }
        Ok(())
    }

    fn check(&self, mutation: &Mutation) -> Result<Verdict> {
        let file = Path::new(&mutation.file);
        let original = self.workspace.read(file)?;
        self.tree.write(file, &mutation.apply(&original)?)?;
        let verdict = self.run_test(&mutation.name, &mutation.test, mutation.cfg);
        // A later mutation starts from unchanged code, whatever became of this one.
        self.tree.write(file, &original)?;
        verdict
    }

    /// Builds, then runs: only so can a compile error be told from a failed test.
    fn run_test(&self, name: &str, test: &TestRef, cfg: Cfg) -> Result<Verdict> {
        let build_log = self.log(name, "build");
        let built = self
            .command(test, cfg)
            .arg("--no-run")
            .run_into(&build_log, BUILD_LIMIT)?;
        if built != Ended::Passed {
            show_end(&build_log)?;
            return Ok(Verdict::NotBuilt);
        }
        let log = self.log(name, "test");
        let ended = self
            .command(test, cfg)
            .arg("--")
            .args(test.filter.as_deref())
            .run_into(&log, TEST_LIMIT)?;
        let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let verdict = Verdict::of(ended, &output);
        let wanted = if name == "unchanged" {
            Verdict::Passed
        } else {
            Verdict::Noticed
        };
        if verdict != wanted {
            show_end(&log)?;
        }
        Ok(verdict)
    }

    fn command(&self, test: &TestRef, cfg: Cfg) -> Cmd {
        // The folder of the step that builds with the same flags: dependencies are built once.
        let builds = match cfg {
            Cfg::None => self.workspace.target_dir(""),
            Cfg::Loom => self.workspace.target_dir(Arm::Loom.verb()),
            Cfg::Schedule => self.workspace.target_dir(Arm::Schedule.verb()),
        };
        let command = Cmd::cargo(self.workspace)
            .current_dir(self.tree.root())
            .env("CARGO_TARGET_DIR", builds)
            // CI switches this off, as it builds nothing twice; this does.
            .env("CARGO_INCREMENTAL", "1")
            .args(["test", "-p", &test.package])
            .args(test.target_args());
        match cfg {
            Cfg::None => command,
            Cfg::Loom => Arm::Loom.configured(command),
            Cfg::Schedule => Arm::Schedule.configured(command),
        }
    }

    fn log(&self, name: &str, stage: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.{stage}.log"))
    }
}

fn show_end(log: &Path) -> Result<()> {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(SHOWN_LINES);
    println!("end of {}:", log.display());
    for line in &lines[start..] {
        println!("    {line}");
    }
    Ok(())
}
