//! `freehold serve`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::output::Fail;
use crate::daemon;

/// Run the daemon
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold serve\n  freehold serve --config ./freehold.toml --data-dir ./data"
)]
pub struct Arguments {
    /// The config file; when it is absent the defaults hold
    #[arg(long, default_value = "/etc/freehold/config.toml")]
    config: PathBuf,
    /// Instead of the config's data_dir
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Runs until told to stop.
///
/// # Errors
/// Why the daemon could not start.
pub fn run(arguments: Arguments) -> Result<(), Fail> {
    daemon::main(daemon::Start {
        config: arguments.config,
        data_dir: arguments.data_dir,
    })
    .map_err(Fail::Failed)
}
