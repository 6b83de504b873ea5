//! Asking a container whether it does its work.
//!
//! One task a life of a container: it asks, tells the executor, waits. What an
//! answer means is decided in `unit`. The first second is asked more often, so
//! that a fast app is live fast.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::docker::{Chunk, Engine, EngineError, NewExec};
use futures_util::StreamExt;

use super::health_h2c;
use super::spec::{Health, Spec};
use crate::base::hearsay::one_line;
use crate::base::protocol::Protocol;

/// A check that takes longer has failed.
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// Once one has failed, or there is reason to doubt, the next ones come as soon and may take as long: whatever hangs is
/// known to within 5 + 5 + 1 + 2 + 1 + 2 s of its last good answer.
pub const DOUBT: Duration = Duration::from_secs(1);
const DOUBT_LIMIT: Duration = Duration::from_secs(2);
/// An engine that is well answers a ping within milliseconds.
const PING: Duration = Duration::from_secs(2);
/// A container without a check must run this long.
const RUNS: Duration = Duration::from_secs(2);
/// What of an answer is kept for a person.
pub(super) const ANSWER: usize = 200;
/// The longest head that is read.
const HEAD: usize = 16 << 10;

/// Why an answer is no good one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Miss {
    pub(super) why: String,
    /// Not a byte came within the limit. An error and a refused connection are answers: what hangs gives none.
    pub(super) silent: bool,
}

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
    /// Whether it says anything at all, be it an error. The kernel takes connections for a process that hangs.
    Speaks(SocketAddr, Protocol),
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
    /// The wait after the `asked`-th question, when the last so many had no good answer.
    pub(super) fn wait(&self, standing: Standing, asked: u32) -> Duration {
        match standing {
            Standing::Proven => return self.after,
            Standing::Doubted => return self.after.min(DOUBT),
            Standing::Unproven => {}
        }
        match asked {
            0..=2 => self.starting / 10,
            3..=4 => self.starting / 4,
            _ => self.starting,
        }
    }
}

/// How a container stands with who asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not given a good answer yet.
    Unproven,
    /// The last answer was good; or so many were not that nothing hangs on the next one.
    Proven,
    /// It gave good answers, and now there is reason to ask again at once.
    Doubted,
}

impl Standing {
    /// After `misses` in a row of one that was or was not proven, where so many make it unhealthy.
    pub(super) fn after(proven: bool, misses: u32, unhealthy_after: u32) -> Self {
        match proven {
            false => Self::Unproven,
            true if (1..unhealthy_after).contains(&misses) => Self::Doubted,
            true => Self::Proven,
        }
    }

    fn limit(self) -> Duration {
        match self {
            Self::Doubted => DOUBT_LIMIT,
            Self::Unproven | Self::Proven => CHECK_LIMIT,
        }
    }
}

impl Check {
    /// What to ask a container that may hang, should its own check not tell: it speaks `protocol`.
    pub(super) fn of_doubt(self, protocol: Protocol) -> Self {
        match self {
            Self::Tcp(address) => Self::Speaks(address, protocol),
            other => other,
        }
    }

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
            Self::Speaks(address, _) => format!("any answer from {address}"),
            Self::Exec { argv, .. } => argv.join(" "),
            Self::Impossible(_) => "its port".to_owned(),
        }
    }

    /// Asks once: what it answered, or why that is no good answer. `None` when
    /// the engine that should ask is away itself: that says nothing of the container.
    pub(super) async fn ask(
        &self,
        engine: &Engine,
        standing: Standing,
    ) -> Option<Result<String, Miss>> {
        self.ask_within(engine, standing.limit()).await
    }

    /// Whether it says anything, be it an error, within as long as any client waits for an answer.
    pub(super) async fn is_heard(&self, engine: &Engine, patience: Duration) -> bool {
        match self.ask_within(engine, patience).await {
            Some(Ok(_)) => true,
            Some(Err(miss)) => !miss.silent,
            None => false,
        }
    }

    async fn ask_within(&self, engine: &Engine, limit: Duration) -> Option<Result<String, Miss>> {
        let heard = AtomicBool::new(false);
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
                } => get_over(*protocol, *address, path, &heard).await,
                Self::Tcp(address) => connect(*address).await.map(|_| "connected".to_owned()),
                Self::Speaks(address, protocol) => speaks(*address, *protocol).await,
                Self::Exec { container, argv } => command(engine, container, argv).await,
                Self::Impossible(why) => Err(why.clone()),
            }
        };
        // Of a command that hangs nobody knows whether the container does.
        let by_network = matches!(self, Self::Http { .. } | Self::Tcp(_) | Self::Speaks(..));
        let answer = match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer.map_err(|why| Miss { why, silent: false }),
            Err(_) => Err(Miss {
                why: late(limit),
                silent: by_network && !heard.load(Relaxed),
            }),
        };
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

fn late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

/// Asks `path` of any address once, as replicas are asked, and as they are when one is in doubt: what it answered, or why
/// that is no good answer.
///
/// # Errors
/// In words.
pub async fn answers(
    address: SocketAddr,
    protocol: Protocol,
    path: &str,
    in_doubt: bool,
) -> Result<String, String> {
    let limit = match in_doubt {
        true => Standing::Doubted.limit(),
        false => Standing::Proven.limit(),
    };
    let heard = AtomicBool::new(false);
    tokio::time::timeout(limit, get_over(protocol, address, path, &heard))
        .await
        .unwrap_or_else(|_| Err(late(limit)))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("connection refused at {address}"),
            _ => format!("no connection to {address}: {error}"),
        })
}

/// `heard` tells whether an answer began, should it not end in time.
async fn get_over(
    protocol: Protocol,
    address: SocketAddr,
    path: &str,
    heard: &AtomicBool,
) -> Result<String, String> {
    match protocol {
        Protocol::Http1 => get(address, path, heard).await,
        Protocol::H2c => health_h2c::get(connect(address).await?, path, heard).await,
    }
}

/// Asks for `/` as any visitor would, and is content with a byte, or with a connection that is closed: only silence is none.
async fn speaks(address: SocketAddr, protocol: Protocol) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let question = match protocol {
        Protocol::Http1 => question(address, "/"),
        Protocol::H2c => health_h2c::PREFACE.to_owned(),
    };
    let answer = async {
        stream.write_all(question.as_bytes()).await?;
        stream.read(&mut [0; 64]).await
    };
    Ok(match answer.await {
        Ok(1..) => "it answers".to_owned(),
        Ok(0) | Err(_) => "it closes connections".to_owned(),
    })
}

fn question(address: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: freehold-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}

async fn get(address: SocketAddr, path: &str, heard: &AtomicBool) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let request = question(address, path);
    let broken = |e: std::io::Error| format!("the connection broke off: {e}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    answer_of(&mut stream, heard).await
}

/// What it answers, as far as it is needed to judge it.
async fn answer_of(
    stream: &mut (impl AsyncRead + Unpin),
    heard: &AtomicBool,
) -> Result<String, String> {
    let broken = |e: std::io::Error| format!("the connection broke off: {e}");
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
        heard.store(true, Relaxed);
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
    let line = one_line(&format!("{code} {reason}"), ANSWER);
    if (200..400).contains(&code) {
        return Some(Ok(line));
    }
    let body = &read[head..];
    if body.len() < ANSWER && !ended && read.len() < HEAD && body.is_empty() {
        return None;
    }
    let shown = shown(body);
    Some(Err(match shown.is_empty() {
        true => line,
        false => format!("{line}: {shown}"),
    }))
}

/// What it said, for a person.
pub(super) fn shown(said: &[u8]) -> String {
    one_line(
        &String::from_utf8_lossy(&said[..said.len().min(ANSWER)]),
        ANSWER,
    )
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
    let said = shown(&said);
    match code {
        0 => Ok(said),
        code if said.is_empty() => Err(format!("exit code {code}")),
        code => Err(format!("exit code {code}: {said}")),
    }
}

#[cfg(freehold_fuzz)]
pub(super) mod fuzz {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::FutureExt;
    use tokio::io::ReadBuf;

    use super::*;

    /// An answer that comes in pieces, and ends.
    struct Pieces<'a>(&'a [u8], usize);

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let count = self.1.min(self.0.len()).min(buffer.remaining());
            let (piece, rest) = self.0.split_at(count);
            buffer.put_slice(piece);
            self.0 = rest;
            Poll::Ready(Ok(()))
        }
    }

    pub(in crate::supervise) fn answer_in(
        bytes: &[u8],
        piece: usize,
    ) -> Option<Result<String, String>> {
        answer_of(&mut Pieces(bytes, piece), &AtomicBool::new(false)).now_or_never()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For what comes at once, on a machine that may be slow.
    const PATIENT: Duration = Duration::from_secs(60);

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
        let loud = format!(
            "HTTP/1.1 500 {}\r\n\r\n\u{1b}[2J\u{9b}1m",
            "x".repeat(5_000)
        );
        let why = judge(loud.as_bytes(), true).unwrap().unwrap_err();
        assert!(why.len() < 500 && why.ends_with(": [2J1m"), "{why}");
        assert!(judge(b"HTTP/1.1 200", false).is_none());
        assert!(judge(b"SSH-2.0-x\r\n", true).unwrap().is_err());
    }

    #[tokio::test]
    async fn f4_a_refused_connection_names_the_address() {
        // Bound, so that nobody else is given it, and not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let why = get(address, "/", &AtomicBool::new(false))
            .await
            .unwrap_err();
        assert_eq!(why, format!("connection refused at {address}"));
    }

    #[test]
    fn checks_are_often_at_first_then_every_second_then_every_five() {
        let rhythm = Rhythm {
            starting: Duration::from_secs(1),
            after: Duration::from_secs(5),
        };
        let wait = |standing, asked| rhythm.wait(standing, asked);
        assert_eq!(wait(Standing::Unproven, 0), Duration::from_millis(100));
        assert_eq!(wait(Standing::Unproven, 9), Duration::from_secs(1));
        assert_eq!(wait(Standing::Proven, 0), Duration::from_secs(5));
    }

    #[test]
    fn n3_what_hangs_is_known_to_within_twenty_seconds() {
        let rhythm = Rhythm {
            starting: Duration::from_secs(1),
            after: Duration::from_secs(5),
        };
        let turns = 3;
        // It hangs right after a good answer.
        let mut passed = rhythm.wait(Standing::Proven, 9);
        for misses in 0..turns {
            passed += Standing::after(true, misses, turns).limit();
            if misses + 1 < turns {
                passed += rhythm.wait(Standing::after(true, misses + 1, turns), 9);
            }
        }
        assert_eq!(passed, Duration::from_secs(16));
        // Once that is known it is asked as patiently as before.
        assert_eq!(Standing::after(true, turns, turns), Standing::Proven);
        assert_eq!(Standing::after(false, 2, turns), Standing::Unproven);
    }

    #[tokio::test]
    async fn n3_a_process_that_hangs_takes_connections_and_does_not_speak() {
        use tokio::io::AsyncReadExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let engine = Engine::connect("unix:///nowhere").unwrap();
        let tcp = Check::Tcp(address).ask(&engine, Standing::Doubted).await;
        assert!(
            tcp.unwrap().is_ok(),
            "nobody accepts, and the check is content"
        );
        for protocol in [Protocol::Http1, Protocol::H2c] {
            let check = Check::Speaks(address, protocol);
            let miss = check.ask(&engine, Standing::Doubted).await.unwrap();
            let miss = miss.unwrap_err();
            assert_eq!(
                (miss.why.as_str(), miss.silent),
                ("no answer within 2 s", true)
            );
            assert!(!check.is_heard(&engine, DOUBT).await);
        }
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let asked = stream.read(&mut [0; 1024]).await.unwrap_or(0);
                    if asked > 0 {
                        stream.write_all(b"HTTP/1.1 500 No\r\n\r\n").await.ok();
                    }
                });
            }
        });
        let check = Check::Speaks(address, Protocol::Http1);
        let said = check.ask(&engine, Standing::Proven).await.unwrap();
        assert_eq!(said.unwrap(), "it answers", "an error is an answer");
        assert!(check.is_heard(&engine, PATIENT).await);
    }

    /// A server that says this to whoever asks, and then neither goes on nor closes.
    async fn begins(answer: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _asked = stream.read(&mut [0; 1024]).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                open.push(stream);
            }
        });
        address
    }

    #[tokio::test]
    async fn n3_only_what_says_nothing_at_all_is_silent() {
        let engine = Engine::connect("unix:///nowhere").unwrap();
        let check = |address| Check::Http {
            address,
            path: "/".to_owned(),
            protocol: Protocol::Http1,
        };
        let missed = async |check: &Check, limit| {
            let answer = check.ask_within(&engine, limit).await;
            answer.unwrap().unwrap_err()
        };
        let hangs = check(begins("").await);
        let silent = missed(&hangs, DOUBT).await;
        assert_eq!(silent.why, "no answer within 1 s");
        assert!(silent.silent && !hangs.is_heard(&engine, DOUBT).await);
        // The saboteurs: it lives, for it says something, though it does not end in time.
        for answer in ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 20"] {
            let lives = check(begins(answer).await);
            let mut limit = DOUBT;
            while missed(&lives, limit).await.silent {
                assert!(limit < PATIENT, "{answer}");
                limit *= 2;
            }
            assert!(lives.is_heard(&engine, limit).await, "{answer}");
        }
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refuses = check(socket.local_addr().unwrap());
        let refused = missed(&refuses, PATIENT).await;
        assert!(refused.why.starts_with("connection refused"), "{refused:?}");
        assert!(!refused.silent && refuses.is_heard(&engine, PATIENT).await);
    }
}
