//! `freehold run` and `freehold exec`: commands beside and inside an app.

use clap::Args;

use super::Global;
use super::app::path;
use super::client::Client;
use super::output::Fail;
use super::terminal;

/// Run a command in a container of its own, with the app's image, environment and databases
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold run shop -- npm run seed\n  freehold run shop -it -- sh"
)]
pub struct RunArguments {
    /// The app
    name: String,
    #[command(flatten)]
    keyboard: Keyboard,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Run a command inside a running replica
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold exec shop -- ps aux\n  freehold exec shop -it --process worker -- sh"
)]
pub struct ExecArguments {
    /// The app
    name: String,
    /// Which process's replica
    #[arg(long, default_value = "web")]
    process: String,
    #[command(flatten)]
    keyboard: Keyboard,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What of the caller's it gets.
#[derive(Clone, Copy, Debug, Args)]
struct Keyboard {
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
}

/// Runs `freehold run`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, given: RunArguments) -> Result<(), Fail> {
    let base = format!("{}/run", path(&given.name));
    start(client, global, &base, "", given.keyboard, &given.command).await
}

/// Runs `freehold exec`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn exec(client: &Client, global: &Global, given: ExecArguments) -> Result<(), Fail> {
    let base = format!("{}/exec", path(&given.name));
    let process =
        percent_encoding::utf8_percent_encode(&given.process, percent_encoding::NON_ALPHANUMERIC);
    let more = format!("&process={process}");
    start(client, global, &base, &more, given.keyboard, &given.command).await
}

async fn start(
    client: &Client,
    global: &Global,
    base: &str,
    more: &str,
    keyboard: Keyboard,
    command: &[String],
) -> Result<(), Fail> {
    let words = serde_json::to_string(command).map_err(|e| Fail::internal(e.to_string()))?;
    let words = percent_encoding::utf8_percent_encode(&words, percent_encoding::NON_ALPHANUMERIC);
    let target = format!("{base}?command={words}{more}");
    let input = keyboard.interactive || keyboard.tty;
    terminal::run(client, global, &target, input, keyboard.tty).await
}
