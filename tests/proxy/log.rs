//! Access log and trace: what is told of a request when it is over, and what its app is told of the trace it belongs to.
use std::time::Duration;

use freehold::base::log_share::LogShare;
use freehold::proxy::{Ending, Entries, Entry, RouteSpec, Target, Upstream};
use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{always, app, h2c_app, raw, read_head};
use crate::client::{Http1, Http2, bytes, empty, fetch, get, post, tls, whole};
use crate::rig::{Rig, World, h2c_target, route, target, within};
use crate::{policies, static_site};

const PATIENCE: Duration = Duration::from_secs(60);

/// The route of `tasks.test`, logged in this share.
fn logged(targets: &[&std::sync::Arc<Target>], share: LogShare) -> RouteSpec {
    RouteSpec {
        access_log: share,
        ..route("tasks.test", targets)
    }
}

fn part(part: f64) -> LogShare {
    LogShare::part(part).unwrap()
}

async fn next(entries: &mut Entries) -> Box<Entry> {
    within(PATIENCE, "an entry", entries.next()).await.unwrap()
}

#[tokio::test]
async fn e7_a_request_is_told_with_who_what_where_and_how_long() {
    let app = app("one").await;
    let one = target(app.address);
    let mut rig = Rig::start(World::of([logged(&[&one], LogShare::ALL)]));
    let mut entries = rig.edge.entries().unwrap();
    assert!(rig.edge.entries().is_none(), "there is one writer");
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    for protocol in ["HTTP/1.1", "HTTP/2"] {
        let mut request = post("https://tasks.test/count?token=secret", "12345");
        let agent = HeaderValue::from_static("probe/1.0");
        request.headers_mut().insert("user-agent", agent);
        let answer = match protocol {
            "HTTP/2" => http2.ask(request).await.unwrap(),
            _ => http1.ask(request).await.unwrap(),
        };
        let entry = next(&mut entries).await;
        assert_eq!(entry.id(), answer.header("x-request-id"));
        assert_eq!(
            [
                entry.client(),
                entry.method(),
                entry.host(),
                entry.path(),
                entry.user_agent(),
                entry.protocol
            ],
            [
                "127.0.0.1",
                "POST",
                "tasks.test",
                "/count",
                "probe/1.0",
                protocol
            ]
        );
        assert_eq!((entry.status, entry.ending), (Some(200), Ending::Whole));
        assert_eq!(
            (entry.bytes_in, entry.bytes_out),
            (5, answer.body.len() as u64)
        );
        assert!(entry.head_micros > 0 && entry.micros >= entry.head_micros);
        assert_eq!((entry.retries, entry.held_micros), (0, 0));
        assert_eq!(&*entry.route().unwrap().spec.key, "tasks.test");
        assert_eq!(entry.target.as_ref(), Some(one.key()));
        assert_eq!(entry.refused, None);
    }
    let head = http::Request::head("https://tasks.test/bytes?n=100");
    let head = head.body(crate::client::empty()).unwrap();
    assert_eq!(http1.ask(head).await.unwrap().status, 200);
    let entry = next(&mut entries).await;
    assert_eq!(
        (entry.method(), entry.ending, entry.bytes_out),
        ("HEAD", Ending::Whole, 0)
    );
    assert!(entries.try_next().is_none(), "one entry a request");
}

#[tokio::test]
async fn e7_the_query_is_told_only_where_it_is_asked_for() {
    let app = app("one").await;
    let mut rig = Rig::start(World::of([logged(&[&target(app.address)], LogShare::ALL)]));
    let mut entries = rig.edge.entries().unwrap();
    for (query, path) in [(false, "/seen"), (true, "/seen?token=secret")] {
        rig.edge.log(LogShare::OFF, query);
        fetch(&rig, "https://tasks.test/seen?token=secret").await;
        assert_eq!(next(&mut entries).await.path(), path);
    }
}

#[tokio::test]
async fn e7_off_writes_nothing_and_a_part_writes_a_part_and_every_5xx() {
    let well = app("one").await;
    let broken = always("HTTP/1.1 500 Internal\r\nContent-Length: 0\r\n\r\n").await;
    let (well, broken) = (target(well.address), target(broken.address));
    let mut rig = Rig::start(World::of([
        logged(&[&well], LogShare::OFF),
        RouteSpec {
            access_log: part(0.25),
            ..route("part.test", &[&well])
        },
        RouteSpec {
            access_log: part(0.000_001),
            ..route("ill.test", &[&broken])
        },
        route("ill-and-off.test", &[&broken]),
    ]));
    let mut entries = rig.edge.entries().unwrap();
    let (mut of_part, mut of_ill) = (0, 0);
    for (host, count) in [
        ("tasks.test", 50),
        ("part.test", 400),
        ("ill.test", 20),
        ("ill-and-off.test", 20),
    ] {
        let mut client = Http2::tls(&rig, host).await;
        for _ in 0..count {
            client.ask(get(&format!("https://{host}/"))).await.unwrap();
        }
        // All of a host are over, as its figures say.
        crate::rig::until("the requests are over", || {
            rig.route_reading(host).requests == count
        })
        .await;
        while let Some(entry) = entries.try_next() {
            match entry.host() {
                "part.test" => of_part += 1,
                "ill.test" => of_ill += 1,
                other => panic!("{other} is not logged"),
            }
        }
    }
    assert_eq!(of_ill, 20);
    assert!((50..150).contains(&of_part), "{of_part} of 400");
}

#[tokio::test]
async fn e7_what_no_route_is_found_for_is_logged_as_the_settings_say() {
    let app = app("one").await;
    let mut rig = Rig::start(World::of([logged(&[&target(app.address)], LogShare::OFF)]));
    let mut entries = rig.edge.entries().unwrap();
    let ask = "GET /x HTTP/1.1\r\nHost: nobody.test\r\nConnection: close\r\n\r\n";
    for share in [LogShare::OFF, LogShare::ALL] {
        rig.edge.log(share, false);
        let answer = bytes(&rig, "tasks.test", ask).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    }
    let entry = next(&mut entries).await;
    assert_eq!((entry.host(), entry.status), ("nobody.test", Some(421)));
    assert_eq!(entry.refused, Some("This connection is for another name"));
    assert!(entry.route().is_none() && entry.target.is_none());
    assert!(entries.try_next().is_none(), "the first was not logged");
}

#[tokio::test]
async fn e7_retries_and_the_time_held_are_told() {
    let app = app("one").await;
    let (gone, well) = (target("127.0.0.1:1".parse().unwrap()), target(app.address));
    let mut rig = Rig::start(World::of([logged(&[&gone], LogShare::ALL)]));
    let mut entries = rig.edge.entries().unwrap();
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let asking = tokio::spawn(async move { client.ask(get("https://tasks.test/")).await });
    // Not only begun: what it waits before its first try in vain is no time held.
    crate::rig::until("it is held", || {
        let snapshot = rig.edge.snapshot();
        let route = snapshot.routes.find("tasks.test", "/").unwrap();
        route.gate().held() == 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.publish(World::of([logged(&[&well], LogShare::ALL)]));
    assert_eq!(asking.await.unwrap().unwrap().status, 200);
    let entry = next(&mut entries).await;
    assert!(entry.retries > 0 && entry.held_micros > 20_000);
    assert!(entry.held_micros <= entry.head_micros);
    assert_eq!(entry.target.as_ref(), Some(well.key()));
}

#[tokio::test]
async fn e7_it_is_told_how_a_request_ended() {
    let (saying, mut came) = tokio::sync::mpsc::unbounded_channel();
    let app = raw(move |mut stream: TcpStream, _| {
        let saying = saying.clone();
        async move {
            let head = read_head(&mut stream).await.unwrap();
            if head.contains("/wait") {
                saying.send(()).unwrap();
            } else {
                let length = if head.contains("/closed") { 0 } else { 1_000 };
                if length > 0 {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome";
                    stream.write_all(answer).await.unwrap();
                }
                if head.contains("/cut") || length == 0 {
                    return;
                }
            }
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
        }
    })
    .await;
    let mut rig = Rig::start(World::of([logged(&[&target(app.address)], LogShare::ALL)]));
    let mut entries = rig.edge.entries().unwrap();
    for (path, status, ending) in [
        ("/wait", None, Ending::ClientGone),
        ("/body", Some(200), Ending::ClientGone),
        ("/cut", Some(200), Ending::UpstreamCut),
        ("/closed", Some(502), Ending::Whole),
    ] {
        for http2 in [false, true] {
            let request = get(&format!("https://tasks.test{path}"));
            let asked = async {
                match http2 {
                    true => Http2::tls(&rig, "tasks.test").await.send(request).await,
                    false => Http1::tls(&rig, "tasks.test").await.send(request).await,
                }
            };
            match path {
                // Who waits for what does not come leaves, once the app has been asked …
                "/wait" => tokio::select! {
                    _ = asked => panic!("it was answered"),
                    _ = within(PATIENCE, "the request", came.recv()) => {}
                },
                // … and once it has the head.
                "/body" => drop(within(PATIENCE, "a head", asked).await.unwrap()),
                _ => {
                    if let Ok(answer) = within(PATIENCE, "a head", asked).await {
                        drop(within(PATIENCE, "its end", whole(answer)).await);
                    }
                }
            }
            let entry = next(&mut entries).await;
            assert_eq!(
                (entry.path(), entry.status, entry.ending),
                (path, status, ending)
            );
        }
    }
}

/// Bodies that say themselves when they are over are not asked for more: files, answers over h2c, compressed ones.
#[tokio::test]
async fn e7_whatever_made_an_answer_it_is_told_when_it_was_whole() {
    let folder = tempfile::tempdir().unwrap();
    static_site::write(folder.path(), "small.txt", b"small");
    static_site::write(folder.path(), "large.txt", &vec![b'x'; 300_000]);
    let app = h2c_app("one").await;
    let files = RouteSpec {
        access_log: LogShare::ALL,
        ..static_site::spec("files.test", folder.path(), false)
    };
    let compressed = RouteSpec {
        access_log: LogShare::ALL,
        ..static_site::spec("coded.test", folder.path(), false)
    };
    let compressed = RouteSpec {
        policies: policies::policed("coded.test", &app, "compress = true").policies,
        ..compressed
    };
    let spoken = logged(&[&h2c_target(app.address)], LogShare::ALL);
    let mut rig = Rig::start(World::of([files, compressed, spoken]));
    let mut entries = rig.edge.entries().unwrap();
    for (host, path) in [
        ("files.test", "/small.txt"),
        ("files.test", "/large.txt"),
        ("coded.test", "/large.txt"),
        ("tasks.test", "/"),
        ("tasks.test", "/bytes?n=100000"),
        ("tasks.test", "/empty"),
    ] {
        for http2 in [false, true] {
            for method in ["GET", "HEAD"] {
                let request = http::Request::builder()
                    .method(method)
                    .uri(format!("https://{host}{path}"))
                    .header("accept-encoding", "gzip")
                    .body(empty())
                    .unwrap();
                let answer = match http2 {
                    true => Http2::tls(&rig, host).await.ask(request).await,
                    false => Http1::tls(&rig, host).await.ask(request).await,
                };
                let what = format!("{method} {host}{path} {http2}");
                let answer = answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                assert!(answer.status.is_success(), "{what}");
                assert_eq!(next(&mut entries).await.ending, Ending::Whole, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn e7_a_websocket_is_told_when_it_ends_with_what_it_moved() {
    let app = raw(|mut stream: TcpStream, _| async move {
        read_head(&mut stream).await.unwrap();
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count]).await.unwrap();
        }
    })
    .await;
    let mut rig = Rig::start(World::of([logged(&[&target(app.address)], LogShare::ALL)]));
    let mut entries = rig.edge.entries().unwrap();
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    let ask = b"GET /ws HTTP/1.1\r\nHost: tasks.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    stream.write_all(ask).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhello") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(entries.try_next().is_none(), "it has not ended");
    stream.shutdown().await.unwrap();
    let entry = next(&mut entries).await;
    assert_eq!(
        (entry.status, entry.bytes_in, entry.bytes_out, entry.ending),
        (Some(101), 5, 5, Ending::Whole)
    );
}

#[tokio::test]
async fn e7_the_client_of_a_trusted_proxy_is_the_one_that_is_told() {
    let app = app("one").await;
    let mut rig = Rig::start(World::of([logged(&[&target(app.address)], LogShare::ALL)]));
    rig.edge.trust(freehold::proxy::Proxies {
        trusted: vec![freehold::base::cidr::Cidr::parse("127.0.0.0/8").unwrap()],
        ..freehold::proxy::Proxies::default()
    });
    let mut entries = rig.edge.entries().unwrap();
    let mut request = get("https://tasks.test/");
    let told = HeaderValue::from_static("192.0.2.7");
    request.headers_mut().insert("x-forwarded-for", told);
    let mut client = Http1::tls(&rig, "tasks.test").await;
    client.ask(request).await.unwrap();
    assert_eq!(next(&mut entries).await.client(), "192.0.2.7");
}

#[tokio::test]
async fn e7_a_paused_route_is_told_with_its_503_and_no_target() {
    let mut rig = Rig::start(World::of([RouteSpec {
        upstream: Upstream::Targets(Vec::new()),
        held_for: Some(Duration::from_millis(1)),
        ..logged(&[], part(0.000_001))
    }]));
    let mut entries = rig.edge.entries().unwrap();
    assert_eq!(fetch(&rig, "https://tasks.test/").await.status, 503);
    let entry = next(&mut entries).await;
    assert_eq!(
        (entry.status, entry.refused),
        (Some(503), Some("Not available right now"))
    );
    assert!(entry.target.is_none() && entry.route().is_some());
}

#[tokio::test]
async fn e7_a_trace_goes_on_and_without_one_one_begins_under_the_requests_id() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for protocol in [1, 2] {
        for (told, goes_on) in [
            (Some(format!("00-{trace}-00f067aa0ba902b7-01")), true),
            (Some(format!("00-{trace}-0000000000000000-01")), false),
            (None, false),
        ] {
            let mut request = get("https://tasks.test/seen");
            if let Some(told) = &told {
                let value = HeaderValue::from_str(told).unwrap();
                request.headers_mut().insert("traceparent", value);
            }
            let state = HeaderValue::from_static("congo=t61rcWkgMzE");
            request.headers_mut().insert("tracestate", state);
            let answer = match protocol {
                1 => http1.ask(request).await.unwrap(),
                _ => http2.ask(request).await.unwrap(),
            };
            let seen = answer.text();
            let line = |name: &str| {
                let mut of_name = seen.lines().filter_map(|line| line.strip_prefix(name));
                (of_name.next(), of_name.next())
            };
            let (Some(parent), None) = line("traceparent: ") else {
                panic!("{seen}");
            };
            assert!(!parent.contains("00f067aa0ba902b7"), "{parent}");
            let id = answer.header("x-request-id");
            let (expected, flags) = if goes_on { (trace, "01") } else { (id, "00") };
            assert!(
                parent.starts_with(&format!("00-{expected}-")) && parent.ends_with(flags),
                "{parent}"
            );
            let passed = goes_on.then_some("congo=t61rcWkgMzE");
            assert_eq!(line("tracestate: "), (passed, None), "{seen}");
        }
    }
}
