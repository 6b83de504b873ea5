//! Who a request comes from: proxies in front that are trusted, and that speak the PROXY protocol; and strangers.
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use freehold::base::cidr::Cidr;
use freehold::proxy::{Limits, Proxies, Refusal};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::app::{App, app};
use crate::client::{Body, Http1, Http2, Whole, get, over_tls};
use crate::rig::{Rig, World, route, target, until};

pub const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
pub const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";

pub fn ranges(texts: &[&str]) -> Vec<Cidr> {
    texts
        .iter()
        .map(|text| Cidr::parse(text).unwrap())
        .collect()
}

pub fn trusting(texts: &[&str]) -> Proxies {
    Proxies {
        trusted: ranges(texts),
        ..Proxies::default()
    }
}

pub fn speaking(texts: &[&str]) -> Proxies {
    Proxies {
        proxy_protocol: ranges(texts),
        ..Proxies::default()
    }
}

pub async fn rig_of(app: &App, proxies: Proxies) -> Rig {
    let mut open = route("open.test", &[&target(app.address)]);
    open.redirect_http = false;
    let rig = Rig::start(World::of([
        route("tasks.test", &[&target(app.address)]),
        open,
    ]));
    rig.edge.trust(proxies);
    rig
}

pub fn v2(family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[0x21, family], &length, rest].concat()
}

/// From one of the addresses of the loopback.
pub async fn from(source: &str, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0))?;
    socket.connect(to).await
}

fn seen(fields: &[(&'static str, &str)]) -> Request<Body> {
    seen_of("tasks.test", fields)
}

pub fn seen_of(name: &str, fields: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = get(&format!("https://{name}/seen"));
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// What the app got, from a request over TLS of this source, whose connection begins with these bytes.
async fn told(rig: &Rig, source: &str, first: &[u8], fields: &[(&'static str, &str)]) -> String {
    let answer = ask(rig, source, first, seen_of("tasks.test", fields)).await;
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

pub async fn ask(rig: &Rig, source: &str, first: &[u8], request: Request<Body>) -> Whole {
    let name = request.uri().host().unwrap().to_owned();
    let mut stream = from(source, rig.https).await.unwrap();
    stream.write_all(first).await.unwrap();
    let stream = over_tls(&rig.authority(), &name, "http/1.1", stream)
        .await
        .unwrap();
    Http1::over(stream).await.ask(request).await.unwrap()
}

#[track_caller]
pub fn says(seen: &str, fields: &[&str]) {
    for field in fields {
        assert_eq!(
            seen.matches(&format!("{field}\n")).count(),
            1,
            "{field} in {seen}"
        );
    }
}

#[tokio::test]
async fn e2_a_strangers_fields_are_nobodys_word_and_a_trusted_ones_are() {
    let app = app("one").await;
    let rig = rig_of(&app, trusting(&["127.0.0.2"])).await;
    let fields = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.test"),
        ("x-real-ip", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("cf-connecting-ip", "192.0.2.1"),
    ];
    let ours = [
        "x-forwarded-for: 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: tasks.test",
        "forwarded: for=127.0.0.1;proto=https;host=\"tasks.test\"",
    ];
    let stranger = told(&rig, "127.0.0.1", b"", &fields).await;
    says(&stranger, &ours);
    assert!(
        !stranger.contains("192.0.2.1") && !stranger.contains("evil"),
        "{stranger}"
    );
    // The saboteur: were the same fields of a trusted one left alone too, the above would show nothing.
    let open = seen_of("open.test", &fields);
    let trusted = ask(&rig, "127.0.0.2", b"", open).await;
    let trusted = trusted.text();
    says(
        trusted,
        &[
            "x-forwarded-for: 192.0.2.1, 127.0.0.2",
            "x-real-ip: 192.0.2.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: open.test",
            "forwarded: for=192.0.2.1;proto=http;host=\"open.test\", for=127.0.0.2",
        ],
    );
    assert!(!trusted.contains("evil"), "{trusted}");
    // Over HTTP/2 alike.
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    says(http2.ask(seen(&fields)).await.unwrap().text(), &ours);
}

#[tokio::test]
async fn e2_two_hops_are_walked_and_what_a_client_made_up_is_not_reached() {
    let app = app("one").await;
    let rig = rig_of(&app, trusting(&["127.0.0.0/8", "10.0.0.0/8"])).await;
    let fields = [
        ("x-forwarded-for", "6.6.6.6, 2001:db8::1"),
        ("x-forwarded-for", "10.0.0.7"),
        ("x-forwarded-proto", "http, https"),
    ];
    let got = told(&rig, "127.0.0.2", b"", &fields).await;
    says(
        &got,
        &[
            "x-forwarded-for: 2001:db8::1, 10.0.0.7, 127.0.0.2",
            "x-real-ip: 2001:db8::1",
            "x-forwarded-proto: https",
            "forwarded: for=\"[2001:db8::1]\";proto=https;host=\"tasks.test\", for=10.0.0.7, for=127.0.0.2",
        ],
    );
    assert!(!got.contains("6.6.6.6"), "{got}");
}

#[tokio::test]
async fn e2_behind_a_proxy_that_ends_tls_nobody_is_sent_round_in_circles() {
    let app = app("one").await;
    let rig = rig_of(&app, trusting(&["127.0.0.2"])).await;
    let mut statuses = Vec::new();
    for (source, proto) in [
        ("127.0.0.1", Some("https")),
        ("127.0.0.2", Some("https")),
        ("127.0.0.2", Some("http")),
        ("127.0.0.2", None),
    ] {
        let mut client = Http1::over(from(source, rig.http).await.unwrap()).await;
        let fields: Vec<_> = proto
            .map(|proto| ("x-forwarded-proto", proto))
            .into_iter()
            .collect();
        let answer = client.ask(seen(&fields)).await.unwrap();
        statuses.push(answer.status.as_u16());
        if answer.status == 200 {
            says(answer.text(), &["x-forwarded-proto: https"]);
        }
    }
    assert_eq!(statuses, [308, 200, 308, 308]);
}

#[tokio::test]
async fn e2_trust_is_edited_while_connections_stay() {
    let app = app("one").await;
    let rig = rig_of(&app, Proxies::default()).await;
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let fields = [("x-forwarded-for", "192.0.2.1")];
    for (proxies, client_is) in [
        (Proxies::default(), "127.0.0.1"),
        (trusting(&["127.0.0.1"]), "192.0.2.1"),
        (Proxies::default(), "127.0.0.1"),
    ] {
        rig.edge.trust(proxies);
        let answer = client.ask(seen(&fields)).await.unwrap();
        says(answer.text(), &[&format!("x-real-ip: {client_is}")]);
    }
}

#[tokio::test]
async fn e2_cloudflares_word_is_taken_from_its_own_addresses() {
    let app = app("one").await;
    // How a test gets one of its addresses: a proxy in between that says so.
    let proxies = Proxies {
        cloudflare: true,
        ..speaking(&["127.0.0.2"])
    };
    let rig = rig_of(&app, proxies.clone()).await;
    let fields = [
        ("cf-connecting-ip", "192.0.2.1"),
        ("x-forwarded-for", "6.6.6.6"),
    ];
    let line = |peer: &str| format!("PROXY TCP4 {peer} 198.51.100.1 1 443\r\n");
    let cloud = line("172.64.0.1");
    let got = told(&rig, "127.0.0.2", cloud.as_bytes(), &fields).await;
    says(
        &got,
        &[
            "x-real-ip: 192.0.2.1",
            "x-forwarded-for: 192.0.2.1, 172.64.0.1",
        ],
    );
    assert!(!got.contains("cf-connecting-ip"), "{got}");
    let got = told(&rig, "127.0.0.2", line("203.0.113.9").as_bytes(), &fields).await;
    says(
        &got,
        &["x-real-ip: 203.0.113.9", "x-forwarded-for: 203.0.113.9"],
    );
    // Without the preset they are strangers.
    rig.edge.trust(speaking(&["127.0.0.2"]));
    let got = told(&rig, "127.0.0.2", cloud.as_bytes(), &fields).await;
    says(
        &got,
        &["x-real-ip: 172.64.0.1", "x-forwarded-for: 172.64.0.1"],
    );
}

#[tokio::test]
async fn e2_both_versions_tell_of_the_client_before_tls_and_plain() {
    let app = app("one").await;
    let rig = rig_of(&app, speaking(&["127.0.0.2"])).await;
    let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
    let mut six = [0; 36];
    six[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    six[15] = 1;
    let extended = [&four[..], &[4, 0, 100], &[0; 100]].concat();
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for (first, client) in [
        (V1, "192.0.2.1"),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n",
            "2001:db8::1",
        ),
        (b"PROXY UNKNOWN\r\n", "127.0.0.2"),
        (&v2(0x11, &four), "192.0.2.1"),
        (&v2(0x21, &six), "2001:db8::1"),
        (&v2(0x11, &extended), "192.0.2.1"),
        (&v2(0x00, &[]), "127.0.0.2"),
        (&v2(0x32, &[b'/'; 216]), "127.0.0.2"),
        (&local, "127.0.0.2"),
    ] {
        let expected = format!("x-forwarded-for: {client}");
        says(&told(&rig, "127.0.0.2", first, &[]).await, &[&expected]);
        // Header and request in one piece: nothing behind the header is lost. Then cut at every byte.
        let request = b"GET /seen HTTP/1.1\r\nHost: open.test\r\nConnection: close\r\n\r\n";
        let whole = [first, request].concat();
        for piece in [whole.len(), 1] {
            let mut stream = from("127.0.0.2", rig.http).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for piece in whole.chunks(piece) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            says(&answer, &[&expected, "x-forwarded-proto: http"]);
        }
    }
    assert_eq!(rig.edge.stats().refusals.of(Refusal::ProxyHeader), 0);
}

/// What comes back until the connection ends, if it ends.
async fn rest_of(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    // A reset is an end too.
    drop(
        tokio::time::timeout(Duration::from_secs(60), reading)
            .await
            .expect("it stayed open"),
    );
    rest
}

#[tokio::test]
async fn e2_without_a_header_the_connection_of_such_a_proxy_is_closed_and_counted() {
    let app = app("one").await;
    let rig = rig_of(&app, speaking(&["127.0.0.2"])).await;
    let garbage: &[&[u8]] = &[
        b"GET /seen HTTP/1.1\r\nHost: open.test\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\nGET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\nGET / HTTP/1.1\r\n\r\n",
        &[b'P'; 300],
        &[&b"PROXY UNKNOWN "[..], &[b'f'; 300]].concat(),
        &v2(0x11, &[0; 11]),
        &v2(0x41, &[0; 216]),
        &[SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
    ];
    for (at, bytes) in garbage.iter().enumerate() {
        let mut stream = from("127.0.0.2", rig.http).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(rest_of(stream).await, b"", "{bytes:?}");
        until("it is counted", || {
            rig.edge.stats().refusals.of(Refusal::ProxyHeader) == at as u64 + 1
        })
        .await;
    }
    assert_eq!(app.requests(), 0);
    // From others the bytes are not looked at: what begins so is no request.
    let mut stream = from("127.0.0.1", rig.http).await.unwrap();
    stream
        .write_all(&[V1, b"GET /seen HTTP/1.1\r\nHost: open.test\r\n\r\n"].concat())
        .await
        .unwrap();
    let answer = String::from_utf8(rest_of(stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(app.requests(), 0);
    assert_eq!(
        rig.edge.stats().refusals.of(Refusal::ProxyHeader),
        garbage.len() as u64
    );
}

#[tokio::test]
async fn e2_a_slow_header_is_waited_for_no_longer_than_a_requests() {
    let app = app("one").await;
    let limits = Limits {
        workers: Some(1),
        client_header: Duration::from_secs(3),
        ..Limits::default()
    };
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target(app.address)])]),
        limits,
    );
    rig.edge.trust(speaking(&["127.0.0.2"]));
    let mut waiting = Vec::new();
    for first in [&b""[..], b"PRO", &V1[..20], SIGNATURE] {
        let mut stream = from("127.0.0.2", rig.https).await.unwrap();
        stream.write_all(first).await.unwrap();
        waiting.push(stream);
    }
    // One drips for as long as it is let.
    let mut dripping = from("127.0.0.2", rig.https).await.unwrap();
    let drip = async {
        for byte in V1.iter().chain(&[b'x'; 200]) {
            if dripping.write_all(&[*byte]).await.is_err() {
                return std::future::pending().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let others = async {
        for stream in waiting {
            assert_eq!(rest_of(stream).await, b"");
        }
        until("all are counted", || {
            rig.edge.stats().refusals.of(Refusal::ProxyHeader) == 5
        })
        .await;
    };
    tokio::select! {
        () = drip => panic!("it dripped to its end"),
        () = others => {}
    }
    // Nobody else has noticed.
    says(
        &told(&rig, "127.0.0.1", b"", &[]).await,
        &["x-forwarded-for: 127.0.0.1"],
    );
}

#[tokio::test]
async fn e2_a_proxys_connections_are_not_counted_as_one_address() {
    let app = app("one").await;
    let limits = Limits {
        workers: Some(1),
        connections_per_address: 2,
        ..Limits::default()
    };
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target(app.address)])]),
        limits,
    );
    rig.edge.trust(Proxies {
        trusted: ranges(&["127.0.0.3"]),
        ..speaking(&["127.0.0.2"])
    });
    let mut held = Vec::new();
    for source in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..5 {
            held.push(from(source, rig.http).await.unwrap());
        }
    }
    until("all are in", || rig.edge.stats().connections == 10).await;
    assert_eq!(rig.edge.stats().refusals.of(Refusal::TooManyOfAddress), 0);
    // The saboteur: an address of nobody's is held to it.
    for _ in 0..3 {
        // Reset as soon as it is taken, or a moment later.
        held.extend(from("127.0.0.4", rig.http).await.ok());
    }
    until("the third is refused", || {
        rig.edge.stats().refusals.of(Refusal::TooManyOfAddress) == 1
    })
    .await;
}

#[tokio::test]
async fn e2_by_default_nobody_is_trusted() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let fields = [
        ("x-forwarded-for", "192.0.2.1"),
        ("cf-connecting-ip", "192.0.2.1"),
    ];
    let got = told(&rig, "127.0.0.1", b"", &fields).await;
    says(&got, &["x-forwarded-for: 127.0.0.1"]);
    assert!(!got.contains("192.0.2.1"), "{got}");
}
