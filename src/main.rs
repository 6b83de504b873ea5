//! The `freehold` binary: daemon and command line in one.

use std::process::ExitCode;

fn main() -> ExitCode {
    freehold::cli::main()
}
