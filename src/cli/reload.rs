//! `freehold reload`: the Freehold that is installed takes the place of the one that runs, and no request is lost.

use std::time::{Duration, Instant};

use clap::Args;

use super::Global;
use super::client::Client;
use super::output::{self, Fail};
use super::progress::Progress;
use crate::wire::handover::{BeginHandover, Handover, HandoverState};

/// Let the installed Freehold take over, without losing a request
///
/// Starts the program at the daemon's path (a newer one, after it was replaced) beside the daemon that runs. Once it has
/// looked at itself it takes over the sockets and the work; the old one serves what it has to its end, at most as long as
/// drain.replica says. If the new one crashes, hangs or cannot start, the old one serves on, and this says why.
/// `systemctl reload freehold` does the same. Settings need no reload: they are in force when they are saved.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold reload             # exit code 1 when the old one serves on\n  freehold reload --json"
)]
pub struct Arguments {}

/// Past all that a handover may take, and within systemd's patience with a reload (90 s).
const WITHIN: Duration = Duration::from_secs(85);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(200);
const PATH: &str = "/api/v1/handover";

/// Runs the verb.
///
/// # Errors
/// When the old one serves on, or the daemon cannot be reached.
pub async fn run(client: &Client, global: &Global, _: Arguments) -> Result<(), Fail> {
    let before: Handover = client.get(PATH).await?;
    let mut progress = Progress::of_state(global, "Handing over");
    progress.state("");
    let asked = BeginHandover { pid: before.pid };
    let begun: Handover = client.send(http::Method::POST, PATH, &asked).await?;
    let now = ended(client, &begun).await?;
    drop(progress);
    match (now.state, &now.why) {
        (HandoverState::Done, _) => {
            output::either(global.json, &now, || {
                output::line(format!(
                    "Freehold {} has taken over (process {}, before it {}).",
                    now.version, now.pid, before.pid
                ));
            });
            Ok(())
        }
        (_, why) => Err(Fail::Failed(format!(
            "the new Freehold did not take over, and version {} serves on: {}",
            now.version,
            why.as_deref().unwrap_or("it did not say why")
        ))),
    }
}

/// How it ended. Whoever answers meanwhile may be on its way down, or not there yet.
async fn ended(client: &Client, begun: &Handover) -> Result<Handover, Fail> {
    let since = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        // While the box passes over nobody answers, and what was asked of the one that goes may be lost with it.
        let asked = tokio::time::timeout(ANSWER, client.get::<Handover>(PATH)).await;
        let asked = asked.unwrap_or_else(|_| Err(Fail::Unreachable("no answer yet".into())));
        match asked {
            Ok(now) if now.began_ms == begun.began_ms && now.state != HandoverState::Running => {
                return Ok(now);
            }
            Ok(now) if now.state == HandoverState::None => {
                return Err(Fail::Failed(
                    "the daemon was started anew meanwhile; its log says why: journalctl -u freehold -n 50".into(),
                ));
            }
            Ok(_) | Err(Fail::Unreachable(_)) if since.elapsed() < WITHIN => {}
            Ok(_) | Err(Fail::Unreachable(_)) => {
                return Err(Fail::Failed(format!(
                    "the handover was not over within {} s; the daemon's log says where it stands: journalctl -u freehold -n 50",
                    WITHIN.as_secs()
                )));
            }
            Err(error) => return Err(error),
        }
    }
}
