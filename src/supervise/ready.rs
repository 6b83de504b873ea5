//! Waiting until a container is healthy, and telling the whole story when it
//! does not become so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::oneshot;

use crate::docker::{Chunk, LogQuery, NewExec};

use super::live::{Live, State};
use super::not_ready::{Cause, Listening, NotReady};
use super::note::{Note, Story};
use super::shared::Shared;

/// Log lines that are shown.
const LINES: u32 = 50;
/// A line that is shown is cut here.
const LINE: usize = 500;
/// Gathering the story must not take long itself.
const STORY: Duration = Duration::from_secs(15);

pub(super) async fn wait_ready(
    shared: &Arc<Shared>,
    row: i64,
    deadline: Duration,
) -> Result<Live, NotReady> {
    let mut live = shared.live.subscribe();
    let before = shared
        .live_of(row)
        .and_then(|l| l.last_exit)
        .map(|exit| exit.at);
    let watching = async {
        loop {
            let present = live
                .borrow_and_update()
                .iter()
                .find(|l| l.row == row)
                .cloned();
            let Some(present) = present else {
                return Err(Cause::Gone);
            };
            match &present.state {
                State::Healthy => return Ok(present),
                State::Refused(why) => return Err(Cause::Refused(why.clone())),
                State::Exited(exit) => return Err(Cause::Exited(exit.clone())),
                State::Retiring => return Err(Cause::Gone),
                State::Waiting(_) | State::Starting | State::Unhealthy(_) => {}
            }
            // It ended and was started again between two looks.
            if let Some(exit) = present.last_exit.filter(|e| Some(e.at) != before) {
                return Err(Cause::Exited(exit));
            }
            if live.changed().await.is_err() {
                return Err(Cause::Broken("the daemon is stopping".to_owned()));
            }
        }
    };
    let cause = match tokio::time::timeout(deadline, watching).await {
        Ok(Ok(live)) => return Ok(live),
        Ok(Err(cause)) => cause,
        Err(_) => Cause::Deadline(deadline),
    };
    Err(tell_all(shared, row, cause).await)
}

async fn tell_all(shared: &Arc<Shared>, row: i64, cause: Cause) -> NotReady {
    let (reply, story) = oneshot::channel();
    let asked = shared.notes.send(Note::Story { row, reply }).await.is_ok();
    let story = match asked {
        true => story.await.ok().flatten(),
        false => None,
    };
    let Some(story) = story else {
        return NotReady {
            name: format!("number {row}"),
            cause,
            check: None,
            last_answer: None,
            expected_port: None,
            listening: None,
            log: Vec::new(),
        };
    };
    let listening = tokio::time::timeout(STORY, listening(shared, &story))
        .await
        .ok()
        .flatten();
    let log = tokio::time::timeout(STORY, last_lines(shared, &story))
        .await
        .unwrap_or_default();
    let never_ran = matches!(cause, Cause::Refused(_));
    NotReady {
        name: story.name,
        cause,
        check: (!never_ran).then_some(story.check),
        last_answer: story.last_answer,
        expected_port: story.port.filter(|_| !never_ran),
        listening,
        log,
    }
}

async fn last_lines(shared: &Arc<Shared>, story: &Story) -> Vec<String> {
    let Some(container) = story.container.as_ref().filter(|_| story.keeps_log) else {
        return Vec::new();
    };
    let query = LogQuery {
        tail: Some(LINES),
        ..LogQuery::default()
    };
    shared
        .engine
        .logs(container, query)
        .filter_map(|line| std::future::ready(line.ok()))
        .map(|line| line.text.chars().take(LINE).collect())
        .collect()
        .await
}

/// The ports that listen in the container's network: read from the kernel, or
/// from inside where the kernel does not show them to us.
async fn listening(shared: &Arc<Shared>, story: &Story) -> Option<Vec<Listening>> {
    let pid = story.pid?;
    let mut tables = String::new();
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/{pid}/net/{table}");
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => tables.push_str(&text),
            Err(_) => {
                tables = ask_inside(shared, story.container.as_ref()?).await?;
                break;
            }
        }
    }
    Some(parse_listening(&tables))
}

async fn ask_inside(shared: &Arc<Shared>, container: &str) -> Option<String> {
    let new = NewExec {
        argv: ["cat", "/proc/net/tcp", "/proc/net/tcp6"]
            .map(str::to_owned)
            .to_vec(),
        ..NewExec::default()
    };
    let (_, mut attached) = shared.engine.exec(container, &new).await.ok()?;
    let mut text = Vec::new();
    while let Some(Ok(chunk)) = attached.output.next().await {
        if let Chunk::Out(bytes) = chunk
            && text.len() < 1 << 20
        {
            text.extend_from_slice(&bytes);
        }
    }
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Reads `/proc/net/tcp` and `tcp6`. The engine's own name server (127.0.0.11)
/// is left out.
fn parse_listening(tables: &str) -> Vec<Listening> {
    let mut found: Vec<Listening> = Vec::new();
    for line in tables.lines() {
        let mut fields = line.split_whitespace();
        let (Some(local), Some(_), Some("0A")) = (fields.nth(1), fields.next(), fields.next())
        else {
            continue;
        };
        let Some((address, port)) = local.split_once(':') else {
            continue;
        };
        let Ok(port) = u16::from_str_radix(port, 16) else {
            continue;
        };
        if address == "0B00007F" {
            continue;
        }
        let loopback_only = match address.len() {
            8 => address.ends_with("7F"),
            _ => address == "00000000000000000000000001000000",
        };
        match found.iter_mut().find(|l| l.port == port) {
            Some(known) => known.loopback_only &= loopback_only,
            None => found.push(Listening {
                port,
                loopback_only,
            }),
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_listening_ports_are_read_from_the_kernels_tables() {
        let tables = "  sl  local_address rem_address   st tx_queue\n\
             0: 00000000:1F90 00000000:0000 0A 00000000\n\
             1: 0100007F:0BB8 00000000:0000 0A 00000000\n\
             2: 0B00007F:9C41 00000000:0000 0A 00000000\n\
             3: 0200530A:1F90 0100530A:C350 01 00000000\n\
          sl  local_address                         remote_address st\n\
             0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0\n\
             1: 00000000000000000000000001000000:01BC 00000000000000000000000000000000:0000 0A 0\n";
        let found: Vec<(u16, bool)> = parse_listening(tables)
            .iter()
            .map(|l| (l.port, l.loopback_only))
            .collect();
        assert_eq!(
            found,
            [(443, false), (444, true), (3000, true), (8080, false)]
        );
    }
}
