//! Each verb and each step, run by the module that knows it.

use anyhow::Result;

use crate::arms::Arm;
use crate::cli::{ArmArgs, BenchVerb, CapiArgs, Depth, MutantsArgs, SanitizerArgs, Step, Verb};
use crate::sanitizers::Sanitizer;
use crate::workspace::Workspace;
use crate::{
    arms, bench, capi, checks, ci, clients, fuzz, icount, layers, licences, mutants, report,
    sanitizers,
};

impl Verb {
    /// Runs the verb and prints its verdict; `false` means that a check failed.
    pub(crate) fn execute(self, workspace: &Workspace) -> Result<bool> {
        let step = match self {
            Self::Ci(args) => return ci::run(workspace, &args),
            Self::Step { step, full } => {
                let depth = Depth::of(full);
                return Ok(report::step(step.name(), || step.run(workspace, depth)));
            }
            Self::Mutants(args) if args.list => {
                mutants::print_list(workspace, &args)?;
                return Ok(true);
            }
            Self::Mutants(args) => {
                return Ok(report::step("mutants", || mutants::run(workspace, &args)));
            }
            Self::Loom(args) => return Ok(arm(workspace, Arm::Loom, Step::Loom, &args)),
            Self::Schedules(args) => {
                return Ok(arm(workspace, Arm::Schedule, Step::Schedules, &args));
            }
            Self::Asan(args) => return Ok(sanitizer(workspace, Sanitizer::Address, &args)),
            Self::Tsan(args) => return Ok(sanitizer(workspace, Sanitizer::Thread, &args)),
            Self::Fuzz(args) => return Ok(report::step("fuzz", || fuzz::run(workspace, &args))),
            Self::Capi(args) => return Ok(report::step("capi", || capi::run(workspace, &args))),
            Self::Bench(BenchVerb::Allocators { args }) => {
                return Ok(report::step("bench", || {
                    bench::allocators(workspace, &args)
                }));
            }
            Self::Bench(BenchVerb::Nbd { args }) => {
                return Ok(report::step("bench", || bench::nbd(workspace, &args)));
            }
            Self::Bench(BenchVerb::Store { args }) => {
                return Ok(report::step("bench", || bench::store(workspace, &args)));
            }
            Self::Icount(args) => {
                return Ok(report::step("icount", || {
                    icount::run(workspace, args.write)
                }));
            }
            Self::Fmt => Step::Fmt,
            Self::Layers => Step::Layers,
            Self::Licences => Step::Licences,
            Self::Clippy => Step::Clippy,
            Self::Docs => Step::Docs,
            Self::NoStd => Step::NoStd,
            Self::Test => Step::Test,
            Self::Pressure => Step::Pressure,
            Self::Clients => Step::Clients,
        };
        Ok(report::step(step.name(), || {
            step.run(workspace, Depth::Short)
        }))
    }
}

fn arm(workspace: &Workspace, arm: Arm, step: Step, args: &ArmArgs) -> bool {
    report::step(step.name(), || arms::run(workspace, arm, args))
}

fn sanitizer(workspace: &Workspace, which: Sanitizer, args: &SanitizerArgs) -> bool {
    report::step(which.verb(), || {
        if args.prove {
            sanitizers::prove(workspace, which)
        } else {
            sanitizers::test(workspace, which)
        }
    })
}

impl Step {
    /// Runs the step as `ci` does and returns a short note for its `PASS` line.
    pub(crate) fn run(self, workspace: &Workspace, depth: Depth) -> Result<String> {
        match self {
            Self::Fmt => checks::fmt(workspace),
            Self::Layers => layers::run(workspace),
            Self::Licences => licences::run(workspace),
            Self::Clippy => checks::clippy(workspace),
            Self::Docs => checks::docs(workspace),
            Self::NoStd => checks::no_std(workspace),
            Self::Test => checks::test(workspace, depth),
            Self::Pressure => checks::pressure(workspace),
            Self::Clients => clients::run(workspace, depth),
            Self::Loom => arms::run(workspace, Arm::Loom, &ArmArgs::default()),
            Self::Schedules => arms::run(workspace, Arm::Schedule, &ArmArgs::default()),
            Self::Mutants => mutants::run(
                workspace,
                &MutantsArgs {
                    few: depth == Depth::Short,
                    ..MutantsArgs::default()
                },
            ),
            Self::Asan => sanitizers::prove_and_test(workspace, Sanitizer::Address),
            Self::Tsan => sanitizers::prove_and_test(workspace, Sanitizer::Thread),
            Self::Capi => capi::run(workspace, &CapiArgs::default()),
            Self::Fuzz => fuzz::prove_and_run(workspace, depth),
        }
    }
}
