//! Ends a command inside a container whose caller has gone, as a terminal would: SIGHUP, then SIGKILL.
//!
//! The engine leaves such a command running and has no call to end it. The daemon is not root, so it may not signal the
//! process from outside; another command inside the container may, because it runs as the same user there. An image
//! without a shell cannot do that: then the signal is tried from outside, which works where the daemon is root.

use std::time::Duration;

use futures_util::StreamExt;
use rustix::process::{Pid, Signal};

use crate::docker::{Engine, NewExec};

/// How long the command inside may take that sends a signal.
const SEND: Duration = Duration::from_secs(5);
/// Between a signal and the look whether it did its work.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 10;

pub(super) async fn command(engine: &Engine, container: &str, exec: &str) {
    for (signal, name) in [(Signal::HUP, "HUP"), (Signal::KILL, "KILL")] {
        let Some(pid) = running(engine, exec).await else {
            return;
        };
        if !inside(engine, container, pid, name).await {
            outside(pid, signal);
        }
        for _ in 0..LOOKS {
            if running(engine, exec).await.is_none() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    tracing::warn!(
        container,
        "a command whose caller has gone could not be ended; it stays until its container ends"
    );
}

async fn running(engine: &Engine, exec: &str) -> Option<u32> {
    engine.exec_pid(exec).await.ok().flatten()
}

/// Says whether the signal was sent.
async fn inside(engine: &Engine, container: &str, pid: u32, signal: &str) -> bool {
    let status = tokio::fs::read_to_string(format!("/proc/{pid}/status")).await;
    let Some(pid) = status.ok().as_deref().and_then(innermost) else {
        return false;
    };
    let new = NewExec {
        argv: [
            "sh",
            "-c",
            "kill -s \"$0\" \"$1\"",
            signal,
            &pid.to_string(),
        ]
        .map(str::to_owned)
        .to_vec(),
        ..NewExec::default()
    };
    let sending = async {
        let (id, mut attached) = engine.exec(container, &new).await.ok()?;
        while let Some(Ok(_)) = attached.output.next().await {}
        engine.exec_exit_code(&id).await.ok()
    };
    let sent = tokio::time::timeout(SEND, sending).await;
    matches!(sent, Ok(Some(0)))
}

fn outside(pid: u32, signal: Signal) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    if let Err(error) = rustix::process::kill_process(pid, signal) {
        tracing::debug!(%error, "a command without its caller could not be signalled from outside");
    }
}

/// The process id in the innermost namespace, as `/proc/PID/status` says it.
fn innermost(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
    let mut ids = line.split_whitespace();
    let outermost = ids.next()?;
    // One id alone: no namespace of its own that we can see.
    ids.next_back()
        .filter(|inner| *inner != outermost)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::innermost;

    #[test]
    fn f4_a_process_is_known_inside_by_its_innermost_id() {
        let status = "Name:\tsleep\nPid:\t31337\nNSpid:\t31337\t12\t7\nThreads:\t1\n";
        assert_eq!(innermost(status), Some(7));
        assert_eq!(innermost("Name:\tsh\nNSpid:\t31337\n"), None);
        assert_eq!(innermost("Name:\tsh\n"), None);
    }
}
