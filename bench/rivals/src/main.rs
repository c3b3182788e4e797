//! The benchmarks as a command; the library holds all of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bench_rivals::main()
}
