//! The command line: one file a verb, each a thin client of the daemon's API.
//!
//! On the box it talks to `/run/freehold/freehold.sock`, from elsewhere over HTTPS with a token: `FREEHOLD_HOST` and
//! `FREEHOLD_TOKEN`, or the box of `freehold login`. Exit codes stand in `output::EXIT_CODES`.

pub mod app;
pub mod audit;
pub mod backup;
pub mod boxes;
pub mod boxes_known;
pub mod check;
pub mod client;
pub mod completions;
pub mod confirm;
pub mod db;
pub mod deploy;
pub mod doctor;
pub mod domain;
pub mod env;
pub mod events;
pub mod history;
pub mod job;
pub mod lines;
pub mod login;
pub mod logs;
pub mod man;
pub mod messages;
pub mod output;
pub mod policies;
pub mod progress;
pub mod reload;
pub mod remote;
pub mod run;
pub mod serve;
pub mod show;
pub mod status;
mod status_routes;
pub mod style;
pub mod target;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod token;
pub mod top;
pub mod typed;
pub mod user;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use client::Client;
use output::Fail;
use remote::{Remote, Trust};
use style::When;

use crate::base::secret::Secret;

/// One plain Linux server as your own platform
///
/// One program is the daemon and the command line. On the box it talks to the daemon's socket; from a laptop to a box of
/// `freehold login`, or to FREEHOLD_HOST with FREEHOLD_TOKEN. Every verb has examples under --help, and prints for
/// programs with --json.
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
    /// Print JSON for programs, failures too
    #[arg(long, global = true)]
    pub json: bool,
    /// Colour: on a terminal unless NO_COLOR is set, always, or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub color: When,
    /// The daemon's socket on this box; /run/freehold/freehold.sock when absent
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "FREEHOLD_SOCKET",
        hide_env_values = true
    )]
    pub socket: Option<PathBuf>,
    /// A box of `freehold login`, by its name here; the one logged in to last when absent
    #[arg(long = "box", global = true, value_name = "NAME", env = "FREEHOLD_BOX")]
    pub box_name: Option<String>,
}

/// Where a box's daemon is asked.
const SOCKET: &str = "/run/freehold/freehold.sock";

impl Global {
    /// The socket of this box.
    pub fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(SOCKET))
    }
}

/// Whether `option` stands among the arguments; what follows `--` is a command's own.
fn is_typed(option: &str) -> bool {
    let mut arguments = std::env::args_os().take_while(|a| a != "--");
    arguments.any(|a| {
        let a = a.to_string_lossy();
        a.strip_prefix(option)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// Whether this machine is a box itself, be its daemon up or not: what is typed here is meant for it, and must not go to
/// another one because it is down.
fn is_box() -> bool {
    let signs = [SOCKET, "/etc/freehold/config.toml"];
    signs.iter().any(|sign| Path::new(sign).exists())
}

/// Where what is typed goes once `name` was chosen among the boxes used from here.
fn goes_to(name: &str, is_box: bool) -> String {
    match is_box {
        true => format!(
            "This machine is a box itself, and what you type goes to it: `--box {name}` sends it to {name}."
        ),
        false => {
            format!("What you type goes to {name} from now on; `--box NAME` picks another.")
        }
    }
}

/// The verbs; each is explained where its arguments stand.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Serve(serve::Arguments),
    Status(status::Arguments),
    Doctor(doctor::Arguments),
    Reload(reload::Arguments),
    Top(top::Arguments),
    Check(check::Arguments),
    App(app::Arguments),
    Deploy(deploy::Arguments),
    Deploys(deploy::ListArguments),
    Rollback(deploy::RollbackArguments),
    Cancel(deploy::CancelArguments),
    Jobs(job::ListArguments),
    Job(job::Arguments),
    Events(events::Arguments),
    Releases(history::ReleaseArguments),
    Deliveries(history::DeliveryArguments),
    Metrics(history::MetricArguments),
    Logs(logs::Arguments),
    Env(env::Arguments),
    Domain(domain::Arguments),
    Maintenance(domain::MaintenanceArguments),
    Scale(domain::ScaleArguments),
    Run(run::RunArguments),
    Exec(run::ExecArguments),
    Db(db::Arguments),
    Target(target::Arguments),
    Backup(backup::Arguments),
    User(user::Arguments),
    Token(token::Arguments),
    Audit(audit::Arguments),
    Login(login::Login),
    Logout(login::Logout),
    Boxes(boxes_known::Arguments),
    Use(boxes_known::Use),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// The whole tree of verbs, with what is the same for all.
pub fn command() -> clap::Command {
    let mut codes = String::from("Exit codes:\n");
    for (code, what) in output::EXIT_CODES {
        codes.push_str(&format!("  {code}  {what}\n"));
    }
    codes.push_str(
        "`run`, `exec` and `db psql` end with the exit code of what they ran.\n\nExamples:\n",
    );
    codes.push_str(
        "  freehold status\n  freehold deploy . --app shop\n  freehold app show shop --json",
    );
    Cli::command().after_help(codes)
}

/// What was typed, or the exit code after help or a mistake was shown.
fn typed() -> Result<Cli, ExitCode> {
    let parsed = command().try_get_matches();
    let error = match parsed.and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let json = std::env::args_os()
        .take_while(|a| a != "--")
        .any(|a| a == "--json");
    if error.use_stderr() && json {
        let text = error.to_string();
        let text = text.trim_start_matches("error: ");
        let (what, _) = text.split_once("\n\n").unwrap_or((text, ""));
        return Err(Fail::usage(what.trim()).report(true));
    }
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    match error.print() {
        Ok(()) => Err(ExitCode::from(code)),
        Err(_) => Err(ExitCode::FAILURE),
    }
}

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    if let Some(error) = crate::git::ssh::wanted() {
        return Fail::Failed(format!("ssh could not be started: {error}")).report(false);
    }
    let cli = match typed() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let global = cli.global;
    style::choose(global.color);
    let done = match cli.verb {
        Verb::Serve(arguments) => serve::run(&global, arguments),
        Verb::Status(a) => with_client(&global, async |c, g| status::run(c, g, &a).await),
        Verb::Doctor(arguments) => {
            with_client(&global, async |c, g| doctor::run(c, g, arguments).await)
        }
        Verb::Reload(arguments) => {
            with_client(&global, async |c, g| reload::run(c, g, arguments).await)
        }
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
        Verb::Jobs(arguments) => {
            with_client(&global, async |c, g| job::list(c, g, arguments).await)
        }
        Verb::Job(arguments) => with_client(&global, async |c, g| job::run(c, g, arguments).await),
        Verb::Events(arguments) => {
            with_client(&global, async |c, g| events::run(c, g, arguments).await)
        }
        Verb::Releases(arguments) => with_client(&global, async |c, g| {
            history::releases(c, g, arguments).await
        }),
        Verb::Deliveries(arguments) => with_client(&global, async |c, g| {
            history::deliveries(c, g, arguments).await
        }),
        Verb::Metrics(arguments) => with_client(&global, async |c, g| {
            history::metrics(c, g, arguments).await
        }),
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
        Verb::Token(arguments) => {
            with_client(&global, async |c, g| token::run(c, g, arguments).await)
        }
        Verb::Audit(arguments) => {
            with_client(&global, async |c, g| audit::run(c, g, arguments).await)
        }
        Verb::Login(arguments) => on_a_runtime(login::login(&global, arguments)),
        Verb::Logout(arguments) => login::logout(&global, &arguments),
        Verb::Boxes(_) => boxes_known::list(&global),
        Verb::Use(arguments) => boxes_known::choose(&global, arguments),
        Verb::Completions(arguments) => completions::run(&global, &arguments),
        Verb::Man(arguments) => man::run(&global, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => fail.report(global.json),
    }
}

/// The way the environment, `--box` or the last login says; else the socket of this box.
fn client(global: &Global) -> Result<Client, Fail> {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    // What was typed goes before what the environment holds.
    if global.socket.is_some() && is_typed("--socket") {
        return Ok(Client::local(global.socket()));
    }
    if global.box_name.is_none()
        && let Some(host) = set("FREEHOLD_HOST")
    {
        let Some(token) = set("FREEHOLD_TOKEN") else {
            return Err(Fail::usage(
                "FREEHOLD_HOST is set, but FREEHOLD_TOKEN is not",
            ));
        };
        let known = boxes::Boxes::read()?;
        let root = known.all.values().find(|b| b.address == host);
        let root = root.and_then(|b| b.root.clone());
        return remote(&host, root.as_deref(), Secret::new(token));
    }
    // A socket that was named, and on a box its own, even when nobody answers there: never another box instead.
    if global.box_name.is_none() && (global.socket.is_some() || is_box()) {
        return Ok(Client::local(global.socket()));
    }
    match boxes::Boxes::read()?.pick(global.box_name.as_deref())? {
        Some(known) => remote(&known.address, known.root.as_deref(), known.token.clone()),
        None => Ok(Client::local(global.socket())),
    }
}

fn remote(host: &str, root: Option<&str>, token: Secret) -> Result<Client, Fail> {
    let trust = root.map_or(Trust::Public, Trust::Pinned);
    Ok(Client::remote(Remote::new(host, &trust, Some(token))?))
}

/// Runs a verb that talks to the daemon, on a small runtime of its own.
fn with_client(
    global: &Global,
    verb: impl AsyncFnOnce(&Client, &Global) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let client = client(global)?;
    on_a_runtime(verb(&client, global))
}

fn on_a_runtime(work: impl Future<Output = Result<(), Fail>>) -> Result<(), Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fail::internal(format!("no runtime: {e}")))?;
    let done = runtime.block_on(work);
    // A keyboard that is still being read must not hold the program up.
    runtime.shutdown_background();
    done
}
