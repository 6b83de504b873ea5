//! Asking a container whether it does its work.
//!
//! One task a life of a container: it asks, tells the executor, waits. What an
//! answer means is decided in `unit`. The first second is asked more often, so
//! that a fast app is live fast.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::docker::{Chunk, Engine, EngineError, NewExec};
use futures_util::StreamExt;

use super::health_h2c;
use super::spec::{Health, Spec};
use crate::base::protocol::Protocol;

/// A check that takes longer has failed.
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// An engine that is well answers a ping within milliseconds.
const PING: Duration = Duration::from_secs(2);
/// A container without a check must run this long.
const RUNS: Duration = Duration::from_secs(2);
/// What of an answer is kept for a person.
pub(super) const ANSWER: usize = 200;
/// The longest head that is read.
const HEAD: usize = 16 << 10;

/// What to ask.
#[derive(Clone, Debug)]
pub(super) enum Check {
    Runs,
    Http {
        address: SocketAddr,
        path: String,
        protocol: Protocol,
    },
    Tcp(SocketAddr),
    Exec {
        container: String,
        argv: Vec<String>,
    },
    Impossible(String),
}

/// How often to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    pub(super) starting: Duration,
    pub(super) after: Duration,
}

impl Rhythm {
    /// The wait after the `asked`-th question.
    pub(super) fn wait(&self, proven: bool, asked: u32) -> Duration {
        if proven {
            return self.after;
        }
        match asked {
            0..=2 => self.starting / 10,
            3..=4 => self.starting / 4,
            _ => self.starting,
        }
    }
}

impl Check {
    pub(super) fn of(spec: &Spec, address: Option<SocketAddr>, container: &str) -> Self {
        let no_address = || Self::Impossible("it has no address in its network".to_owned());
        match (&spec.health, address) {
            (Health::None, _) => Self::Runs,
            (Health::Exec(argv), _) => Self::Exec {
                container: container.to_owned(),
                argv: argv.clone(),
            },
            (Health::Http { path, protocol }, Some(address)) => Self::Http {
                address,
                path: path.clone(),
                protocol: *protocol,
            },
            (Health::Tcp, Some(address)) => Self::Tcp(address),
            (Health::Http { .. } | Health::Tcp, None) => no_address(),
        }
    }

    /// The check in words, such as `GET http://10.83.0.2:3000/healthz`.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Runs => format!("it runs for {} s", RUNS.as_secs()),
            Self::Http {
                address,
                path,
                protocol,
            } => match protocol {
                Protocol::Http1 => format!("GET http://{address}{path}"),
                Protocol::H2c => format!("GET h2c://{address}{path}"),
            },
            Self::Tcp(address) => format!("connect to {address}"),
            Self::Exec { argv, .. } => argv.join(" "),
            Self::Impossible(_) => "its port".to_owned(),
        }
    }

    /// Asks once: what it answered, or why that is no good answer. `None` when
    /// the engine that should ask is away itself: that says nothing of the container.
    pub(super) async fn ask(&self, engine: &Engine) -> Option<Result<String, String>> {
        let asked = async {
            match self {
                Self::Runs => {
                    tokio::time::sleep(RUNS).await;
                    Ok("it runs".to_owned())
                }
                Self::Http {
                    address,
                    path,
                    protocol,
                } => get_over(*protocol, *address, path).await,
                Self::Tcp(address) => connect(*address).await.map(|_| "connected".to_owned()),
                Self::Exec { container, argv } => command(engine, container, argv).await,
                Self::Impossible(why) => Err(why.clone()),
            }
        };
        let answer = tokio::time::timeout(CHECK_LIMIT, asked)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_LIMIT.as_secs())));
        let by_engine = matches!(self, Self::Exec { .. });
        if by_engine && answer.is_err() {
            let there = tokio::time::timeout(PING, engine.ping()).await;
            if !matches!(there, Ok(Ok(()))) {
                return None;
            }
        }
        Some(answer)
    }
}

/// Asks `path` of any address once, as replicas are asked: what it answered, or why that is no good answer.
///
/// # Errors
/// In words.
pub async fn answers(
    address: SocketAddr,
    protocol: Protocol,
    path: &str,
) -> Result<String, String> {
    tokio::time::timeout(CHECK_LIMIT, get_over(protocol, address, path))
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_LIMIT.as_secs())))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("connection refused at {address}"),
            _ => format!("no connection to {address}: {error}"),
        })
}

async fn get_over(protocol: Protocol, address: SocketAddr, path: &str) -> Result<String, String> {
    match protocol {
        Protocol::Http1 => get(address, path).await,
        Protocol::H2c => health_h2c::get(connect(address).await?, path).await,
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: freehold-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let broken = |e: std::io::Error| format!("the connection broke off: {e}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut read = Vec::with_capacity(1024);
    loop {
        if let Some(answer) = judge(&read, false) {
            return answer;
        }
        if read.len() >= HEAD {
            return Err("its answer has a head of more than 16 KB".to_owned());
        }
        let more = stream.read_buf(&mut read).await.map_err(broken)?;
        if more == 0 {
            return judge(&read, true)
                .unwrap_or_else(|| Err("it closed the connection without an answer".to_owned()));
        }
    }
}

/// Reads the head of an answer; `None` while it is not whole. A bad answer's
/// body is waited for until there is something to show, or the end.
fn judge(read: &[u8], ended: bool) -> Option<Result<String, String>> {
    let mut headers = [httparse::EMPTY_HEADER; 96];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(read) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return None,
        Err(error) => return Some(Err(format!("its answer is no HTTP: {error}"))),
    };
    let code = response.code.unwrap_or(0);
    let reason = response.reason.unwrap_or("");
    let line = format!("{code} {reason}").trim_end().to_owned();
    if (200..400).contains(&code) {
        return Some(Ok(line));
    }
    let body = &read[head..];
    if body.len() < ANSWER && !ended && read.len() < HEAD && body.is_empty() {
        return None;
    }
    let shown = String::from_utf8_lossy(&body[..body.len().min(ANSWER)]);
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(Err(match shown.is_empty() {
        true => line,
        false => format!("{line}: {shown}"),
    }))
}

async fn command(engine: &Engine, container: &str, argv: &[String]) -> Result<String, String> {
    let new = NewExec {
        argv: argv.to_vec(),
        ..NewExec::default()
    };
    let words = |e: EngineError| e.to_string();
    let (exec, mut attached) = engine.exec(container, &new).await.map_err(words)?;
    let mut said = Vec::new();
    while let Some(chunk) = attached.output.next().await {
        match chunk.map_err(words)? {
            Chunk::Out(bytes) | Chunk::Err(bytes) if said.len() < ANSWER => {
                said.extend_from_slice(&bytes);
            }
            _ => {}
        }
    }
    let code = engine.exec_exit_code(&exec).await.map_err(words)?;
    let said = String::from_utf8_lossy(&said[..said.len().min(ANSWER)]);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match code {
        0 => Ok(said),
        code if said.is_empty() => Err(format!("exit code {code}")),
        code => Err(format!("exit code {code}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_200_to_399_is_healthy_and_the_rest_is_shown() {
        for (answer, good) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", true),
            ("HTTP/1.0 400 Bad Request\r\n\r\n", false),
        ] {
            assert_eq!(judge(answer.as_bytes(), true).unwrap().is_ok(), good);
        }
        let answer = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"db\":\n \"down\"}";
        assert_eq!(
            judge(answer.as_bytes(), true).unwrap().unwrap_err(),
            "503 Service Unavailable: {\"db\": \"down\"}"
        );
        assert!(judge(b"HTTP/1.1 200", false).is_none());
        assert!(judge(b"SSH-2.0-x\r\n", true).unwrap().is_err());
    }

    #[tokio::test]
    async fn f4_a_refused_connection_names_the_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let why = get(address, "/").await.unwrap_err();
        assert_eq!(why, format!("connection refused at {address}"));
    }

    #[test]
    fn checks_are_often_at_first_then_every_second_then_every_five() {
        let rhythm = Rhythm {
            starting: Duration::from_secs(1),
            after: Duration::from_secs(5),
        };
        assert_eq!(rhythm.wait(false, 0), Duration::from_millis(100));
        assert_eq!(rhythm.wait(false, 9), Duration::from_secs(1));
        assert_eq!(rhythm.wait(true, 0), Duration::from_secs(5));
    }
}
