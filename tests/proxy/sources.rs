//! Sources: what one may take of the edge, told or seen; attacks from one or several, beside somebody who must not notice.
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use freehold::proxy::{Limits, Proxies, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::app;
use crate::client::{Http1, get, over_tls};
use crate::origin::{from, speaking};
use crate::rig::{Rig, World, route, target, until, within};

fn limits() -> Limits {
    Limits {
        workers: Some(2),
        // So that none of the silent ones ends meanwhile, however slow the machine.
        client_header: Duration::from_secs(90),
        ..Limits::default()
    }
}

fn rig(limits: Limits, app: SocketAddr) -> Rig {
    Rig::with_limits(World::of([route("tasks.test", &[&target(app)])]), limits)
}

fn told(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.1 1 443\r\n").into_bytes()
}

/// A connection from this source that begins so, and is then silent. One that is refused may be reset at any moment.
async fn silent(to: SocketAddr, source: &str, first: &[u8]) -> io::Result<TcpStream> {
    let mut stream = from(source, to).await?;
    stream.write_all(first).await?;
    Ok(stream)
}

/// A connection from this source that was served once, so that it is counted, and stays.
async fn settled(rig: &Rig, source: &str, first: &[u8]) -> Http1 {
    let mut client = Http1::over(silent(rig.http, source, first).await.unwrap()).await;
    let answer = client.ask(get("http://tasks.test/")).await.unwrap();
    assert_eq!(answer.status, 308);
    client
}

/// Whether somebody from there is served; who is refused hears it at once.
async fn is_served(rig: &Rig, source: &str, first: &[u8]) -> bool {
    let asking = async {
        let mut stream = from(source, rig.https).await?;
        stream.write_all(first).await?;
        let stream = over_tls(&rig.authority(), "tasks.test", "http/1.1", stream).await?;
        let mut client = Http1::over(stream).await;
        let answer = client.ask(get("https://tasks.test/")).await;
        let answer = answer.map_err(io::Error::other)?;
        io::Result::Ok(answer.status == 200)
    };
    let answered = tokio::time::timeout(Duration::from_secs(60), asking).await;
    matches!(answered, Ok(Ok(true)))
}

/// It was refused: closed with a reset, before a word.
async fn is_reset(stream: io::Result<TcpStream>) -> bool {
    let ended = match stream {
        Ok(mut stream) => {
            let mut byte = [0; 1];
            let limit = Duration::from_secs(60);
            within(limit, "the end of it", stream.read(&mut byte)).await
        }
        Err(error) => Err(error),
    };
    matches!(ended, Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

#[tokio::test]
async fn e2_a_flood_from_one_told_address_leaves_the_others_their_room() {
    let app = app("one").await;
    for (per_address, notices) in [(4, false), (1_000, true)] {
        let limits = Limits {
            connections: 16,
            connections_per_address: per_address,
            ..limits()
        };
        let rig = rig(limits, app.address);
        rig.edge.trust(speaking(&["127.0.0.2"]));
        let flood = told("192.0.2.1");
        let mut held = Vec::new();
        for _ in 0..40 {
            held.push(silent(rig.http, "127.0.0.2", &flood).await);
        }
        until("all are judged", || {
            let stats = rig.edge.stats();
            let refusals = stats.refusals;
            let refused =
                refusals.of(Refusal::TooManyOfAddress) + refusals.of(Refusal::TooManyOfProxies);
            stats.connections + refused == 40
                && (notices || stats.connections == u64::from(per_address))
        })
        .await;
        // The saboteur: without the limit by address the same flood takes all that proxies may have.
        let bystander = is_served(&rig, "127.0.0.2", &told("192.0.2.2")).await;
        assert_eq!(bystander, !notices);
        assert!(is_reset(held.pop().unwrap()).await);
        // However it is, those who come without the proxy have room.
        assert!(is_served(&rig, "127.0.0.9", b"").await);
    }
}

#[tokio::test]
async fn e2_a_told_address_is_counted_with_its_direct_connections() {
    let app = app("one").await;
    let limits = Limits {
        connections_per_address: 3,
        ..limits()
    };
    let rig = rig(limits, app.address);
    // Whom a proxy tells of that is itself trusted stands for many, as if it had come by itself.
    rig.edge.trust(Proxies {
        cloudflare: true,
        ..speaking(&["127.0.0.2"])
    });
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(settled(&rig, "127.0.0.2", &told("172.64.0.1")).await);
    }
    held.push(settled(&rig, "127.0.0.7", b"").await);
    for _ in 0..2 {
        held.push(settled(&rig, "127.0.0.2", &told("127.0.0.7")).await);
    }
    assert!(!is_served(&rig, "127.0.0.2", &told("127.0.0.7")).await);
    assert!(!is_served(&rig, "127.0.0.7", b"").await);
    assert!(is_served(&rig, "127.0.0.2", &told("127.0.0.8")).await);
    assert_eq!(rig.edge.stats().refusals.of(Refusal::TooManyOfAddress), 2);
    // What is over is given back.
    held.clear();
    until("all are gone", || rig.edge.stats().connections == 0).await;
    assert!(is_served(&rig, "127.0.0.7", b"").await);
}

#[tokio::test]
async fn e4_proxies_never_take_the_part_that_is_held_back_from_them() {
    let app = app("one").await;
    let limits = Limits {
        connections: 16,
        ..limits()
    };
    let rig = rig(limits, app.address);
    rig.edge.trust(speaking(&["127.0.0.2"]));
    let mut held = Vec::new();
    for client in 1..=30 {
        // Each with another client, and some that never name one.
        let first = if client % 3 == 0 {
            Vec::new()
        } else {
            told(&format!("192.0.2.{client}"))
        };
        held.push(silent(rig.http, "127.0.0.2", &first).await);
    }
    until("all are judged", || {
        let stats = rig.edge.stats();
        stats.connections == 12 && stats.refusals.of(Refusal::TooManyOfProxies) == 18
    })
    .await;
    assert!(is_served(&rig, "127.0.0.9", b"").await);
    until("that one is gone", || rig.edge.stats().connections == 12).await;
    // The saboteur: from as many sources that are no proxies, nothing is left for the next.
    for source in 10..20 {
        held.push(silent(rig.http, &format!("127.0.0.{source}"), b"").await);
    }
    until("it is full", || rig.edge.stats().connections == 16).await;
    assert!(!is_served(&rig, "127.0.0.9", b"").await);
    assert!(rig.edge.stats().refusals.of(Refusal::TooManyConnections) > 0);
}

#[tokio::test]
async fn e4_new_connections_of_a_source_are_paced_and_nobody_elses() {
    let app = app("one").await;
    let paced = Limits {
        new_connections_per_address: 4,
        ..limits()
    };
    let rig = rig(paced, app.address);
    let flood = async || {
        until("nobody is left", || rig.edge.stats().connections == 0).await;
        let refused = || rig.edge.stats().refusals.of(Refusal::TooFastOfAddress);
        let before = refused();
        let mut all = Vec::new();
        for _ in 0..100 {
            all.push(silent(rig.https, "127.0.0.2", b"").await);
        }
        // All stay, silent, until each is judged: they are fewer than one address may have open.
        until("all are judged", || {
            rig.edge.stats().connections + (refused() - before) == 100
        })
        .await;
        // Whoever is refused hears it, however late that is on a busy machine.
        let mut resets: Vec<bool> = all.iter().map(Result::is_err).collect();
        let count = |resets: &[bool]| resets.iter().filter(|reset| **reset).count() as u64;
        until("the refused are reset", || {
            for (stream, reset) in all.iter().zip(&mut resets) {
                let read = stream.as_ref().map(|stream| stream.try_read(&mut [0; 1]));
                *reset |= matches!(read, Ok(Err(error)) if error.kind() != ErrorKind::WouldBlock);
            }
            count(&resets) == refused() - before
        })
        .await;
        count(&resets) as u32
    };
    let began = Instant::now();
    let resets = flood().await;
    let most = 16 + 4 * (began.elapsed().as_secs() as u32 + 1);
    assert!((100 - most..=84).contains(&resets), "{resets}");
    let refusals = rig.edge.stats().refusals;
    assert_eq!(refusals.of(Refusal::TooFastOfAddress), u64::from(resets));
    assert_eq!(refusals.of(Refusal::TooManyOfAddress), 0);
    assert!(is_served(&rig, "127.0.0.3", b"").await);
    // In a moment one of its connections is taken again.
    within(Duration::from_secs(60), "its turn", async {
        while !is_served(&rig, "127.0.0.2", b"").await {}
    })
    .await;
    // The saboteur: without the pace all of them come in.
    rig.edge.limit(Limits {
        new_connections_per_address: u32::MAX,
        ..paced
    });
    assert_eq!(flood().await, 0);
}

#[tokio::test]
async fn e4_told_clients_are_paced_too() {
    let app = app("one").await;
    let paced = Limits {
        new_connections_per_address: 1,
        ..limits()
    };
    let rig = rig(paced, app.address);
    rig.edge.trust(speaking(&["127.0.0.2"]));
    for _ in 0..40 {
        drop(
            silent(rig.http, "127.0.0.2", &told("192.0.2.1"))
                .await
                .unwrap(),
        );
    }
    until("they are judged", || {
        rig.edge.stats().refusals.of(Refusal::TooFastOfAddress) >= 20
    })
    .await;
    assert!(is_served(&rig, "127.0.0.2", &told("192.0.2.2")).await);
}

/// The first message of a handshake, as a client of this rig sends it.
fn hello() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "tasks.test".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn e4_handshakes_that_are_never_finished_hold_up_their_own_source_alone() {
    let app = app("one").await;
    let rig = rig(limits(), app.address);
    let hello = hello();
    let mut held = Vec::new();
    // Several attackers: together more than any number that could be worked on at once.
    for attacker in 2..6 {
        for _ in 0..80 {
            let source = format!("127.0.0.{attacker}");
            held.push(silent(rig.https, &source, &hello).await.unwrap());
        }
    }
    // 32 of each are answered, and the rest waits.
    let answered = async || {
        let mut answered = 0;
        for stream in &held {
            let mut first = [0; 1];
            let peeking = stream.peek(&mut first);
            let peeked = tokio::time::timeout(Duration::from_millis(1), peeking).await;
            answered += u32::from(matches!(peeked, Ok(Ok(1))));
        }
        answered
    };
    within(Duration::from_secs(60), "their answers", async {
        while answered().await < 4 * 32 {}
    })
    .await;
    // Once is enough: a busy machine makes somebody wait who waits for nobody, and not each time.
    let mut waited = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        assert!(is_served(&rig, "127.0.0.9", b"").await);
        waited = waited.min(began.elapsed());
        if waited < Duration::from_secs(1) {
            break;
        }
    }
    // The saboteur: where their own source is full, somebody waits for as long as a client has for its handshake.
    let authority = rig.authority();
    let own = over_tls(
        &authority,
        "tasks.test",
        "http/1.1",
        from("127.0.0.2", rig.https).await.unwrap(),
    );
    let own = tokio::time::timeout(Duration::from_secs(1), own).await;
    assert!(own.is_err(), "its own source was not held up");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    assert_eq!(answered().await, 4 * 32);
    // None waits longer than for a head; all are counted.
    drop(held);
    until("all are gone", || rig.edge.stats().connections == 0).await;
    assert!(
        rig.edge.stats().refusals.of(Refusal::HandshakeFailed)
            + rig.edge.stats().refusals.of(Refusal::HandshakeSlow)
            >= 320
    );
}

/// In a process of its own, which may open few files.
const FEW: &str = "FREEHOLD_TEST_FEW_FILES";

#[tokio::test]
async fn e4_without_descriptors_who_comes_is_told_at_once_and_who_is_there_is_served() {
    if std::env::var_os(FEW).is_some() {
        return with_few_files().await;
    }
    let test =
        "sources::e4_without_descriptors_who_comes_is_told_at_once_and_who_is_there_is_served";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(FEW, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = move || lines.next().unwrap().unwrap();
    let address: SocketAddr = loop {
        let said = line();
        if let Some((_, address)) = said.split_once("listens at ") {
            break address.parse().unwrap();
        }
    };
    let redirected = async |client: &mut Http1| {
        let answer = client.ask(get("http://tasks.test/")).await.unwrap();
        assert_eq!(answer.status, 308);
    };
    let mut bystander = Http1::over(from("127.0.0.9", address).await.unwrap()).await;
    redirected(&mut bystander).await;
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(silent(address, "127.0.0.2", b"").await);
    }
    // Nobody waits for a descriptor to become free: without the one in reserve they would, for as long as there is none.
    for _ in 0..100 {
        assert!(is_reset(silent(address, "127.0.0.3", b"").await).await);
        redirected(&mut bystander).await;
    }
    // And served again, as soon as others have gone.
    drop(held);
    within(Duration::from_secs(60), "a new one is served", async {
        loop {
            // Until then it is reset, at any moment.
            let Ok(stream) = from("127.0.0.3", address).await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let mut late = Http1::over(stream).await;
            if late.ask(get("http://tasks.test/")).await.is_ok() {
                break;
            }
        }
    })
    .await;
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let refused = loop {
        let said = line();
        if let Some((_, refused)) = said.split_once("refused ") {
            break refused.parse::<u64>().unwrap();
        }
    };
    assert!(refused >= 100, "{refused}");
    assert!(child.wait().unwrap().success());
}

async fn with_few_files() {
    let rig = rig(
        Limits {
            connections_per_address: 1_000,
            new_connections_per_address: u32::MAX,
            // Who is silent keeps its descriptor for as long as this takes on a busy machine.
            client_header: Duration::from_secs(600),
            ..limits()
        },
        "127.0.0.1:1".parse().unwrap(),
    );
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let few = rustix::process::Rlimit {
        current: Some(open + 40),
        maximum: Some(open + 40),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    println!("listens at {}", rig.http);
    let mut end = String::new();
    tokio::task::spawn_blocking(move || io::stdin().read_line(&mut end).unwrap())
        .await
        .unwrap();
    println!(
        "refused {}",
        rig.edge.stats().refusals.of(Refusal::NoDescriptors)
    );
}
