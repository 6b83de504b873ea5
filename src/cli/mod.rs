//! The command line: one file a verb, each a thin client of the daemon's API.
//!
//! On the box it talks to `/run/freehold/freehold.sock`. Exit codes: 0 done,
//! 1 failed, 2 bad usage or input, 3 not found, 4 refused, 5 unreachable.

pub mod app;
pub mod backup;
pub mod check;
pub mod client;
pub mod db;
pub mod deploy;
pub mod domain;
pub mod env;
pub mod lines;
pub mod logs;
pub mod output;
pub mod run;
pub mod serve;
pub mod show;
pub mod status;
pub mod target;
pub mod terminal;
pub mod top;
pub mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use client::Client;
use output::Fail;

/// One plain Linux server as your own platform.
#[derive(Debug, Parser)]
#[command(name = "freehold", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options every verb takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Machine-readable output
    #[arg(long, global = true)]
    pub json: bool,
    /// The daemon's socket on this box
    #[arg(
        long,
        global = true,
        env = "FREEHOLD_SOCKET",
        default_value = "/run/freehold/freehold.sock",
        hide_env_values = true
    )]
    pub socket: PathBuf,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon
    Serve(serve::Arguments),
    /// One look at everything
    Status(status::Arguments),
    /// What is wrong, and how to mend it
    Doctor(status::Doctor),
    /// The box and its apps, live
    Top(top::Arguments),
    /// What is asked whether it answers
    Check(check::Arguments),
    /// Apps
    App(app::Arguments),
    /// Deploy a folder, a commit or an image
    Deploy(deploy::Arguments),
    /// The deploys of an app
    Deploys(deploy::ListArguments),
    /// Go back to an earlier release
    Rollback(deploy::RollbackArguments),
    /// Stop a deploy that has not moved the traffic yet
    Cancel(deploy::CancelArguments),
    /// What an app writes
    Logs(logs::Arguments),
    /// The environment of an app
    Env(env::Arguments),
    /// Where an app answers
    Domain(domain::Arguments),
    /// A maintenance page instead of the app
    Maintenance(domain::MaintenanceArguments),
    /// How many replicas of a process run and what each may use
    Scale(domain::ScaleArguments),
    /// Run a command in a container of its own
    Run(run::RunArguments),
    /// Run a command inside a running replica
    Exec(run::ExecArguments),
    /// Postgres databases
    Db(db::Arguments),
    /// Where backups go
    Target(target::Arguments),
    /// Backups and restores
    Backup(backup::Arguments),
    /// The owner and sign-in
    User(user::Arguments),
}

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    if let Some(error) = crate::git::ssh::wanted() {
        return Fail::Failed(format!("ssh could not be started: {error}")).report(false);
    }
    let cli = Cli::parse();
    let global = cli.global;
    let done = match cli.verb {
        Verb::Serve(arguments) => serve::run(arguments),
        Verb::Status(_) => with_client(&global, async |c, g| status::run(c, g).await),
        Verb::Doctor(_) => with_client(&global, async |c, g| status::doctor(c, g).await),
        Verb::Top(arguments) => with_client(&global, async |c, g| top::run(c, g, arguments).await),
        Verb::Check(arguments) => {
            with_client(&global, async |c, g| check::run(c, g, arguments).await)
        }
        Verb::App(arguments) => with_client(&global, async |c, g| app::run(c, g, arguments).await),
        Verb::Deploy(arguments) => {
            with_client(&global, async |c, g| deploy::run(c, g, arguments).await)
        }
        Verb::Deploys(arguments) => {
            with_client(&global, async |c, g| deploy::list(c, g, arguments).await)
        }
        Verb::Rollback(arguments) => with_client(&global, async |c, g| {
            deploy::rollback(c, g, arguments).await
        }),
        Verb::Cancel(arguments) => {
            with_client(&global, async |c, g| deploy::cancel(c, g, arguments).await)
        }
        Verb::Logs(arguments) => {
            with_client(&global, async |c, g| logs::run(c, g, arguments).await)
        }
        Verb::Env(arguments) => with_client(&global, async |c, g| env::run(c, g, arguments).await),
        Verb::Domain(arguments) => {
            with_client(&global, async |c, g| domain::run(c, g, arguments).await)
        }
        Verb::Maintenance(arguments) => with_client(&global, async |c, g| {
            domain::maintenance(c, g, arguments).await
        }),
        Verb::Scale(arguments) => {
            with_client(&global, async |c, g| domain::scale(c, g, arguments).await)
        }
        Verb::Run(arguments) => with_client(&global, async |c, g| run::run(c, g, arguments).await),
        Verb::Exec(arguments) => {
            with_client(&global, async |c, g| run::exec(c, g, arguments).await)
        }
        Verb::Db(arguments) => with_client(&global, async |c, g| db::run(c, g, arguments).await),
        Verb::Target(arguments) => {
            with_client(&global, async |c, g| target::run(c, g, arguments).await)
        }
        Verb::Backup(arguments) => {
            with_client(&global, async |c, g| backup::run(c, g, arguments).await)
        }
        Verb::User(arguments) => {
            with_client(&global, async |c, g| user::run(c, g, arguments).await)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => fail.report(global.json),
    }
}

/// Runs a verb that talks to the daemon, on a small runtime of its own.
fn with_client(
    global: &Global,
    verb: impl AsyncFnOnce(&Client, &Global) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fail::internal(format!("no runtime: {e}")))?;
    let client = Client::local(&global.socket);
    let done = runtime.block_on(verb(&client, global));
    // A keyboard that is still being read must not hold the program up.
    runtime.shutdown_background();
    done
}
