//! The side that goes: starts a successor, lets it look at itself, gives it the box, and is sure of it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::wire::{Ear, Given, Mouth, Reply, Serving, Wire, Word, descriptors, give};
use super::{Arguments, CHECKED_WITHIN, ENDED_WITHIN, leads};
use crate::base::sabotage::Sabotage;
use crate::daemon::sockets::Kept;
use crate::proxy::EdgeHandle;

const NONSENSE: &str = "it said something that does not belong there";
/// For one that takes nothing to be seen dead.
const MOMENT: Duration = Duration::from_secs(1);

/// One that was started.
pub struct Successor {
    child: Child,
    wire: Wire,
}

impl Successor {
    /// Starts `program` beside this process and gives it the sockets; `next` is the file of the one after it.
    ///
    /// # Errors
    /// Why that cannot be, as a sentence. It is dead then.
    pub async fn start(
        program: &Path,
        next: &Path,
        arguments: &Arguments,
        data_dir: &Path,
        kept: &Kept,
    ) -> Result<Self, String> {
        let (ours, theirs) = UnixStream::pair().map_err(|e| format!("no wire to it: {e}"))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--takes-over");
        command.arg("--config").arg(&arguments.config);
        if let Some(data_dir) = &arguments.data_dir {
            command.arg("--data-dir").arg(data_dir);
        }
        if arguments.json {
            command.arg("--json");
        }
        // The sockets come over the wire: those of systemd are this process's alone.
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        let mut child = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(|e| format!("{} could not be started: {e}", program.display()))?;
        // Its end of the wire is in nobody's hands but its own.
        drop(command);
        let given = Given {
            http: kept.http.len(),
            https: kept.https.len(),
            held: kept.held,
            run_dir: kept.run_dir.clone(),
            program: next.to_owned(),
            data_dir: Some(data_dir.to_owned()),
        };
        let mut all = descriptors(kept.http.iter().chain(&kept.https));
        all.extend(descriptors([&kept.edge, &kept.local]));
        let sent = give(&ours, &given, &all)
            .and_then(|()| Wire::new(ours))
            .map_err(|e| format!("the sockets could not be given to it: {e}"));
        match sent {
            Ok(wire) => Ok(Self { child, wire }),
            Err(why) => {
                // More often than not it is gone already, and that is why.
                let ended = tokio::time::timeout(MOMENT, child.wait()).await;
                if let Ok(Ok(status)) = ended {
                    return Err(format!("it ended {}", how(status)));
                }
                end(child).await;
                Err(why)
            }
        }
    }

    /// Waits until it has looked at itself. Nothing has changed by then.
    ///
    /// # Errors
    /// Why it cannot take over, as a sentence. It is to be ended.
    pub async fn is_well(&mut self) -> Result<(), String> {
        match self.hears(CHECKED_WITHIN, "is well").await? {
            Reply::Checked => Ok(()),
            _ => Err(NONSENSE.into()),
        }
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// How it ended.
    pub fn is_there(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(format!("it ended {}", how(status))),
            _ => Ok(()),
        }
    }

    /// Lets it take the box; by now nothing of the control plane here acts any more. Resolves when it takes connections, with
    /// where it does.
    ///
    /// # Errors
    /// Why it does not, as a sentence. It is to be ended before anybody else takes the box.
    pub async fn take(&mut self, word: Word, within: Duration) -> Result<Serving, String> {
        if let Err(error) = self.wire.say(&word).await {
            tracing::debug!(%error, "the successor does not listen");
        }
        match self.hears(within, "serves").await? {
            Reply::Serving(at) => Ok(at),
            _ => Err(NONSENSE.into()),
        }
    }

    /// Tells it that it is the one that everybody finds. From now on its wire's end says that this process is gone.
    pub async fn confirm(&mut self) {
        if let Err(error) = self.wire.say(&Word::Confirmed).await {
            tracing::error!(%error, "the successor could not be told that it has taken over");
        }
    }

    /// What is heard of it, how it is told, and its process.
    pub fn divided(self) -> (Heard, Mouth, Living) {
        let Wire { ear, mouth } = self.wire;
        (Heard(ear), mouth, Living(self.child))
    }

    /// Ends it, whatever it does, and returns when it is dead.
    pub async fn end(self) {
        end(self.child).await;
    }

    async fn hears(&mut self, within: Duration, wanted: &str) -> Result<Reply, String> {
        let heard = tokio::time::timeout(within, self.wire.hear::<Reply>()).await;
        match heard {
            Ok(Ok(Some(Reply::Failed(why)))) => Err(why),
            Ok(Ok(Some(reply))) => Ok(reply),
            // Its end looks like an error where it had not read what we said.
            Ok(Ok(None) | Err(_)) => Err(self.how_it_ended().await),
            Err(_) => Err(format!(
                "it did not say within {} s that it {wanted}",
                within.as_secs()
            )),
        }
    }

    async fn how_it_ended(&mut self) -> String {
        match tokio::time::timeout(ENDED_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) => format!("it ended {}", how(status)),
            _ => "it said nothing that can be understood".into(),
        }
    }
}

/// What one that has the box says.
pub struct Heard(Ear);

impl Heard {
    /// Has the edge here lead its requests where the other one's does, for as long as that says so; `hurry` hears of a limit.
    pub async fn follow(mut self, edge: &EdgeHandle, hurry: &watch::Sender<Option<Duration>>) {
        while let Some(reply) = self.0.news().await {
            match reply {
                Reply::Leads(_) if Sabotage::NoNews.is_on() => {}
                Reply::Leads(told) => leads::follow(edge, told).await,
                Reply::Hurry(millis) => {
                    hurry.send_replace(Some(Duration::from_millis(millis)));
                }
                Reply::Checked | Reply::Serving(_) | Reply::Failed(_) => {}
            }
        }
    }
}

/// The process of one that has the box.
pub struct Living(Child);

impl Living {
    /// Resolves when it has ended. Systemd does not see that by itself, as it is not its child.
    pub async fn ended(&mut self) {
        if let Err(error) = self.0.wait().await {
            tracing::error!(%error, "the successor's end could not be seen");
        }
    }
}

async fn end(mut child: Child) {
    // Dead already is well too.
    if let Err(error) = child.start_kill() {
        tracing::debug!(%error, "the successor could not be killed");
    }
    // SIGKILL needs nobody's consent; a process that hangs in the kernel is waited for, because it might act.
    if let Err(error) = child.wait().await {
        tracing::error!(%error, "the successor's end could not be seen");
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("with exit code {code} before it had taken over"),
        (None, Some(signal)) => format!("by signal {signal} before it had taken over"),
        (None, None) => "before it had taken over".into(),
    }
}
