//! `freehold serve`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use super::output::Fail;
use crate::daemon;

/// Run the daemon
///
/// On a box systemd does this (freehold.service, its sockets held by freehold.socket). SIGTERM ends it in order: the
/// proxy drains for up to 5 s, work in progress is taken up at the next start. FREEHOLD_LOG sets the log's level; with
/// --json the log is lines of JSON.
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
pub fn run(global: &Global, arguments: Arguments) -> Result<(), Fail> {
    daemon::main(daemon::Start {
        config: arguments.config,
        data_dir: arguments.data_dir,
        json: global.json,
    })
    .map_err(Fail::Failed)
}
