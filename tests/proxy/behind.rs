//! Behind proxies, from end to end: both protocols, both lists, requests that are held, tunnels, and edits meanwhile.
use std::net::SocketAddr;
use std::time::Duration;

use freehold::base::clock::UnixMs;
use freehold::proxy::{Proxies, Refusal, RouteSpec, Upstream};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{app, raw, read_head};
use crate::client::{Body, Http1, Http2, Whole, over_tls};
use crate::origin::{
    SIGNATURE, V1, ask, from, ranges, rig_of, says, seen_of, speaking, trusting, v2,
};
use crate::policies::policed;
use crate::rig::{Rig, World, route, target, until};

const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];

fn seen(fields: &[(&'static str, &str)]) -> Request<Body> {
    seen_of("tasks.test", fields)
}

/// Over HTTP/2 from this source, on a connection that begins with these bytes.
async fn http2(rig: &Rig, source: &str, first: &[u8]) -> Http2 {
    let mut stream = from(source, rig.https).await.unwrap();
    stream.write_all(first).await.unwrap();
    Http2::over(
        over_tls(&rig.authority(), "tasks.test", "h2", stream)
            .await
            .unwrap(),
    )
    .await
}

/// Plain, from this source, on a connection that begins with these bytes.
async fn plain(
    to: SocketAddr,
    source: &str,
    first: &[u8],
    fields: &[(&'static str, &str)],
) -> Whole {
    let mut stream = from(source, to).await.unwrap();
    stream.write_all(first).await.unwrap();
    Http1::over(stream).await.ask(seen(fields)).await.unwrap()
}

/// What one client behind a proxy gives up is answered to that one: the others go on, on the same connection. By itself
/// a connection is ended for it, which the tests of floods show.
#[tokio::test]
async fn e4_rapid_resets_of_one_client_behind_a_proxy_do_not_end_the_connection_of_all() {
    let app = app("one").await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    rig.edge.trust(trusting(&["127.0.0.2"]));
    let shared = http2(&rig, "127.0.0.2", b"").await;
    let for_client = |path: &str, client: &str| {
        let mut request = crate::client::get(&format!("https://tasks.test{path}"));
        let fields = request.headers_mut();
        fields.insert("x-forwarded-for", client.parse().unwrap());
        request
    };
    for _ in 0..2 {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let (mut shared, slow) = (shared.clone(), for_client("/slow?ms=600000", "192.0.2.1"));
            all.spawn(async move { shared.ask(slow).await.map(|answer| answer.status) });
        }
        until("all are asked", || target.in_flight() == 60).await;
        all.shutdown().await;
        until("all are given up", || target.in_flight() == 0).await;
    }
    let ask = async |client: &str| shared.clone().ask(for_client("/", client)).await.unwrap();
    let refused = ask("192.0.2.1").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (429, "60")
    );
    for other in ["192.0.2.2", "2001:db8::1"] {
        assert_eq!(ask(other).await.text(), "hello from one\n");
    }
    let refusals = rig.edge.stats().refusals;
    assert_eq!((refusals.of(Refusal::Abandoned), refusals.sum()), (1, 1));
}

#[tokio::test]
async fn e2_each_request_of_a_shared_http2_connection_has_its_own_client() {
    let app = app("one").await;
    let rig = rig_of(&app, trusting(&["127.0.0.2"])).await;
    let shared = http2(&rig, "127.0.0.2", b"").await;
    let ask = async |client: &str| {
        let fields = [("x-forwarded-for", client), ("cf-connecting-ip", "6.6.6.6")];
        let answer = shared.clone().ask(seen(&fields)).await.unwrap();
        let real = format!("x-real-ip: {client}");
        let chain = format!("x-forwarded-for: {client}, 127.0.0.2");
        says(answer.text(), &[&real, &chain]);
    };
    tokio::join!(ask("192.0.2.1"), ask("2001:db8::7"), ask("192.0.2.3"));
    // A stranger's say nothing, over the same protocol.
    let mut stranger = http2(&rig, "127.0.0.3", b"").await;
    let fields = [("x-forwarded-for", "192.0.2.1")];
    let answer = stranger.ask(seen(&fields)).await.unwrap();
    says(answer.text(), &["x-real-ip: 127.0.0.3"]);
}

#[tokio::test]
async fn e2_http2_behind_a_header_of_the_proxy_protocol() {
    let app = app("one").await;
    let rig = rig_of(&app, speaking(&["127.0.0.2"])).await;
    for first in [V1, &v2(0x11, &FOUR)] {
        let mut client = http2(&rig, "127.0.0.2", first).await;
        for _ in 0..2 {
            let fields = [("x-forwarded-for", "6.6.6.6")];
            let answer = client.ask(seen(&fields)).await.unwrap();
            says(
                answer.text(),
                &["x-real-ip: 192.0.2.1", "x-forwarded-for: 192.0.2.1"],
            );
        }
    }
}

#[tokio::test]
async fn e2_a_proxy_that_ends_tls_and_speaks_the_protocol_leads_nobody_in_circles() {
    let app = app("one").await;
    let rig = rig_of(&app, speaking(&["127.0.0.2"])).await;
    let by_tls = v2(0x11, &[&FOUR[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat());
    let in_clear = v2(0x11, &[&FOUR[..], &[0x20, 0, 5, 0, 0, 0, 0, 0]].concat());
    let https = [("x-forwarded-proto", "https")];
    for (listed_too, first, fields, status) in [
        // The header itself says so, in version 2.
        (false, &by_tls[..], &[][..], 200),
        (false, &in_clear, &[], 308),
        // Version 1 cannot: the field of a proxy that is trusted too.
        (true, V1, &https, 200),
        (true, V1, &[], 308),
        (true, &in_clear, &https, 200),
        // The saboteur: that of its client, through a proxy that is not.
        (false, V1, &https, 308),
        (false, &in_clear, &https, 308),
    ] {
        rig.edge.trust(Proxies {
            trusted: if listed_too {
                ranges(&["127.0.0.2"])
            } else {
                Vec::new()
            },
            ..speaking(&["127.0.0.2"])
        });
        let answer = plain(rig.http, "127.0.0.2", first, fields).await;
        assert_eq!(answer.status, status, "{listed_too} {first:?} {fields:?}");
        if status == 200 {
            says(
                answer.text(),
                &["x-real-ip: 192.0.2.1", "x-forwarded-proto: https"],
            );
        }
    }
}

#[tokio::test]
async fn e2_where_a_header_names_nobody_no_field_does() {
    let app = app("one").await;
    let both = Proxies {
        trusted: ranges(&["127.0.0.2", "127.0.0.3"]),
        ..speaking(&["127.0.0.2"])
    };
    let rig = rig_of(&app, both).await;
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    let fields = [("x-forwarded-for", "6.6.6.6")];
    for first in [b"PROXY UNKNOWN\r\n", &local[..], &v2(0x31, &[0; 216])] {
        let answer = ask(&rig, "127.0.0.2", first, seen(&fields)).await;
        says(
            answer.text(),
            &["x-real-ip: 127.0.0.2", "x-forwarded-for: 127.0.0.2"],
        );
    }
    // The saboteur: of one that is trusted and speaks no PROXY the same field counts.
    let answer = ask(&rig, "127.0.0.3", b"", seen(&fields)).await;
    says(answer.text(), &["x-real-ip: 6.6.6.6"]);
}

#[tokio::test]
async fn e2_who_came_by_http_to_a_proxy_is_sent_to_https_whatever_it_speaks_to_us() {
    let app = app("one").await;
    let mut open = route("open.test", &[&target(app.address)]);
    open.redirect_http = false;
    let mut world = World::of([route("tasks.test", &[&target(app.address)]), open]);
    world.challenges = vec![("token", "token.key")];
    let rig = Rig::start(world);
    rig.edge.trust(trusting(&["127.0.0.2"]));
    let http = [("x-forwarded-proto", "http")];
    let answer = ask(&rig, "127.0.0.2", b"", seen(&http)).await;
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("location"), "https://tasks.test/seen");
    // Where the route says so it is served, and the app told; a certificate's challenge is answered.
    let answer = ask(&rig, "127.0.0.2", b"", seen_of("open.test", &http)).await;
    says(answer.text(), &["x-forwarded-proto: http"]);
    let mut challenge = seen(&http);
    *challenge.uri_mut() = "https://tasks.test/.well-known/acme-challenge/token"
        .parse()
        .unwrap();
    let answer = ask(&rig, "127.0.0.2", b"", challenge).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "token.key"));
    // A stranger at the door for https is there by https, and nobody is sent from there to there.
    let answer = ask(&rig, "127.0.0.3", b"", seen(&http)).await;
    says(answer.text(), &["x-forwarded-proto: https"]);
}

#[tokio::test]
async fn e2_the_boxs_own_address_is_served_to_who_came_by_https() {
    let app = app("one").await;
    let mut world = World::of([]);
    world.default_route = Some(route("box", &[&target(app.address)]));
    let rig = Rig::start(world);
    rig.edge.trust(trusting(&["127.0.0.2"]));
    let host = ("host", "203.0.113.5");
    for (source, proto, status) in [
        ("127.0.0.2", "https", 200),
        ("127.0.0.2", "http", 308),
        ("127.0.0.3", "https", 308),
    ] {
        let fields = [host, ("x-forwarded-proto", proto)];
        let answer = plain(rig.http, source, b"", &fields).await;
        assert_eq!(answer.status, status, "{source} {proto}");
    }
}

#[tokio::test]
async fn e2_a_request_that_was_held_comes_from_who_sent_it() {
    let app = app("one").await;
    let now = UnixMs::now();
    let paused = RouteSpec {
        upstream: Upstream::Paused {
            since: now,
            until: now.plus(Duration::from_secs(60)),
        },
        ..route("tasks.test", &[])
    };
    let rig = Rig::start(World::of([paused]));
    rig.edge.trust(trusting(&["127.0.0.2"]));
    let fields = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
    ];
    let held = || {
        let snapshot = rig.edge.snapshot();
        let route = snapshot.routes.find("tasks.test", "/").unwrap();
        route.gate().held()
    };
    // At the door for http: looked for again it must not become a redirect.
    let asking = async {
        tokio::join!(
            plain(rig.http, "127.0.0.2", b"", &fields),
            ask(&rig, "127.0.0.2", b"", seen(&fields))
        )
    };
    let resume = async {
        until("both are held", || held() == 2).await;
        rig.publish(World::of([route("tasks.test", &[&target(app.address)])]));
    };
    let ((first, second), ()) = tokio::join!(asking, resume);
    for answer in [first, second] {
        says(
            answer.text(),
            &["x-real-ip: 192.0.2.1", "x-forwarded-proto: https"],
        );
    }
}

#[tokio::test]
async fn e2_a_websocket_is_asked_for_by_the_client_behind_the_proxy() {
    let (heads, mut got) = tokio::sync::mpsc::unbounded_channel();
    let app = raw(move |mut stream: TcpStream, _| {
        let heads = heads.clone();
        async move {
            heads.send(read_head(&mut stream).await.unwrap()).unwrap();
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";
            stream.write_all(switch).await.unwrap();
            drop(stream.read(&mut [0; 16]).await);
        }
    })
    .await;
    let rig = rig_of(
        &app,
        Proxies {
            trusted: ranges(&["127.0.0.3"]),
            ..speaking(&["127.0.0.2"])
        },
    )
    .await;
    for (source, first, chain) in [
        ("127.0.0.2", V1, "192.0.2.1"),
        ("127.0.0.3", b"", "192.0.2.1, 127.0.0.3"),
        ("127.0.0.4", b"", "127.0.0.4"),
    ] {
        let mut stream = from(source, rig.https).await.unwrap();
        stream.write_all(first).await.unwrap();
        let mut stream = over_tls(&rig.authority(), "tasks.test", "http/1.1", stream)
            .await
            .unwrap();
        let request = b"GET /ws HTTP/1.1\r\nHost: tasks.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101 ");
        let head = got.recv().await.unwrap().replace("\r\n", "\n");
        let expected = format!("x-forwarded-for: {chain}");
        says(&head, &[&expected]);
    }
}

#[tokio::test]
async fn e2_edits_of_the_protocols_list_leave_open_connections_what_they_are() {
    let app = app("one").await;
    let rig = rig_of(&app, speaking(&["127.0.0.2"])).await;
    let mut early = http2(&rig, "127.0.0.2", V1).await;
    rig.edge.trust(Proxies::default());
    // Now nobody is asked for a header, and one is no request.
    let answer = ask(&rig, "127.0.0.2", b"", seen(&[])).await;
    says(answer.text(), &["x-real-ip: 127.0.0.2"]);
    let stranger = from("127.0.0.2", rig.https).await.unwrap();
    let mut stranger = stranger;
    stranger.write_all(V1).await.unwrap();
    assert!(
        over_tls(&rig.authority(), "tasks.test", "h2", stranger)
            .await
            .is_err(),
        "a header was taken from somebody who is not listed"
    );
    let answer = early.ask(seen(&[])).await.unwrap();
    says(answer.text(), &["x-real-ip: 192.0.2.1"]);
}

/// Each of two clients behind one proxy that may speak for them, and a stranger who names others at will.
#[tokio::test]
async fn e6_clients_behind_a_trusted_proxy_have_quotas_of_their_own_and_a_stranger_has_one() {
    let app = app("one").await;
    let limited = || {
        let limit = "rate_limit = { requests = 2, per = \"day\" }";
        policed("tasks.test", &app, limit)
    };
    let rig = Rig::start(World::of([limited()]));
    rig.edge.trust(Proxies {
        trusted: ranges(&["127.0.0.2"]),
        ..speaking(&["127.0.0.4"])
    });
    // The first over HTTP/1.1, the others over HTTP/2: the protocols share a quota.
    let statuses = async |rig: &Rig, source: &str, first: &[u8], named: [&str; 3]| {
        let named = named.map(|client| seen(&[("x-forwarded-for", client)]));
        let [one, two, three] = named;
        let mut shared = http2(rig, source, first).await;
        [
            ask(rig, source, first, one).await,
            shared.ask(two).await.unwrap(),
            shared.ask(three).await.unwrap(),
        ]
        .map(|answer| answer.status.as_u16())
    };
    let once = [200, 200, 429];
    // A stranger is who sends, whomever it names, and takes nothing from those it names.
    let forged = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    assert_eq!(statuses(&rig, "127.0.0.3", b"", forged).await, once);
    for client in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(statuses(&rig, "127.0.0.2", b"", [client; 3]).await, once);
    }
    // What a client itself puts in front of the trusted one's word makes nobody else of it.
    let lied = "6.6.6.6, 192.0.2.2";
    let through = statuses(&rig, "127.0.0.2", b"", [lied; 3]).await;
    assert_eq!(through, [429; 3]);
    // By the PROXY protocol, too, and then no field counts.
    for client in ["203.0.113.1", "203.0.113.2"] {
        let first = format!("PROXY TCP4 {client} 198.51.100.1 56324 443\r\n");
        let first = first.as_bytes();
        assert_eq!(statuses(&rig, "127.0.0.4", first, forged).await, once);
    }
    // The saboteurs: where nobody is trusted the second client finds the quota used up by the first, and where the
    // stranger is, those it names have one each.
    let rig = Rig::start(World::of([limited()]));
    assert_eq!(statuses(&rig, "127.0.0.2", b"", forged).await, once);
    let second = statuses(&rig, "127.0.0.2", b"", ["192.0.2.2"; 3]).await;
    assert_eq!(second, [429; 3]);
    rig.edge.trust(trusting(&["127.0.0.3"]));
    assert_eq!(statuses(&rig, "127.0.0.3", b"", forged).await, [200; 3]);
}
