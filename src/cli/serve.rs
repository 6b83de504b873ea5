//! `freehold serve`: the daemon.

use std::path::{Path, PathBuf};

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
    /// The config file; without one /etc/freehold/config.toml, and where that is absent the defaults
    #[arg(long)]
    config: Option<PathBuf>,
    /// Instead of the config's data_dir
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Take the place of the daemon that starts this one, and has its sockets ready on standard input
    #[arg(long, hide = true)]
    takes_over: bool,
}

/// Where a box has its settings; it may be absent.
const USUAL: &str = "/etc/freehold/config.toml";

/// The settings file. One that was named and is not there is a slip of the hand: with the defaults instead, a daemon would
/// begin on the box's own ports and data.
fn chosen(named: Option<PathBuf>) -> Result<PathBuf, Fail> {
    let Some(file) = named else {
        return Ok(Path::new(USUAL).to_owned());
    };
    match file.try_exists() {
        Ok(false) => Err(Fail::not_found(format!(
            "there is no config file {}: name one that is there, or leave --config away for {USUAL} or the defaults",
            file.display()
        ))),
        // What cannot be read is told by whoever reads it.
        Ok(true) | Err(_) => Ok(file),
    }
}

/// Runs until told to stop.
///
/// # Errors
/// Why the daemon could not start.
pub fn run(global: &Global, arguments: Arguments) -> Result<(), Fail> {
    daemon::main(daemon::Start {
        config: chosen(arguments.config)?,
        data_dir: arguments.data_dir,
        json: global.json,
        takes_over: arguments.takes_over,
    })
    .map_err(Fail::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_a_config_file_that_is_named_has_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let refused = chosen(Some(file.clone())).unwrap_err();
        assert_eq!(refused.exit_code(), 3);
        let Fail::Problem(problem) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            problem.detail.contains("there is no config file"),
            "{problem:?}"
        );
        std::fs::write(&file, "").unwrap();
        assert_eq!(chosen(Some(file.clone())).ok(), Some(file));
        assert_eq!(chosen(None).ok(), Some(PathBuf::from(USUAL)));
    }
}
