//! Names: which route, which certificate, which no.
use freehold::proxy::Refusal;

use crate::app::app;
use crate::client::{Http1, Http2, fetch, get, tls};
use crate::rig::{Rig, World, route, target, until};

#[tokio::test]
async fn f5_both_protocols_reach_the_app_with_our_word_about_the_client() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    for _ in 0..3 {
        let request = || {
            let mut request = get("https://tasks.test/seen?a=b");
            request
                .headers_mut()
                .insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
            request
                .headers_mut()
                .insert("forwarded", "for=6.6.6.6".parse().unwrap());
            request
                .headers_mut()
                .insert("x-request-id", "mine".parse().unwrap());
            request
        };
        for answer in [
            http1.ask(request()).await.unwrap(),
            http2.ask(request()).await.unwrap(),
        ] {
            let seen = answer.text();
            assert_eq!(answer.status, 200);
            assert!(
                seen.starts_with("GET /seen?a=b\nhost: tasks.test\n"),
                "{seen}"
            );
            for ours in [
                "x-forwarded-for: 127.0.0.1\n",
                "x-forwarded-proto: https\n",
                "x-forwarded-host: tasks.test\n",
            ] {
                assert!(seen.contains(ours), "{seen}");
            }
            assert!(
                !seen.contains("6.6.6.6") && !seen.contains("mine"),
                "{seen}"
            );
            assert!(
                seen.contains(&format!(
                    "x-request-id: {}\n",
                    answer.header("x-request-id")
                )),
                "{seen}"
            );
            assert_eq!(answer.header("x-app"), "one");
        }
    }
    until("all are counted", || {
        rig.route_reading("tasks.test").in_flight == 0
    })
    .await;
    let reading = rig.route_reading("tasks.test");
    assert_eq!(
        (reading.requests, reading.classes[1], reading.in_flight),
        (6, 6, 0)
    );
    assert_eq!(reading.latency.total(), 6);
    assert!(app.connections() <= 2, "kept alive: {}", app.connections());
}

#[tokio::test]
async fn f5_the_longest_prefix_wins_and_ends_at_a_segment() {
    let (one, two, three) = (app("one").await, app("two").await, app("three").await);
    let rig = Rig::start(World::of([
        route("tasks.test", &[&target(one.address)]),
        route("tasks.test/api", &[&target(two.address)]),
        route("tasks.test/api/v2", &[&target(three.address)]),
        route("*.wild.test", &[&target(two.address)]),
    ]));
    for (path, app) in [
        ("/", "one"),
        ("/apis", "one"),
        ("/api", "two"),
        ("/api/v20", "two"),
        ("/api?x", "two"),
        ("/api/v2/x", "three"),
    ] {
        assert_eq!(
            fetch(&rig, &format!("https://tasks.test{path}"))
                .await
                .header("x-app"),
            app,
            "{path}"
        );
    }
    assert_eq!(
        fetch(&rig, "https://any.wild.test/").await.header("x-app"),
        "two"
    );
    assert!(tls(&rig, "two.labels.wild.test", "h2").await.is_err());
}

#[tokio::test]
async fn f5_unknown_names_are_turned_away_at_each_door() {
    let app = app("one").await;
    let target = target(app.address);
    let rig = Rig::start(World::of([
        route("tasks.test", &[&target]),
        route("other.test", &[&target]),
    ]));

    let refusal = tls(&rig, "unknown.test", "h2")
        .await
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("UnrecognisedName"), "{refusal}");
    until("it is counted", || {
        rig.edge.stats().refusals.of(Refusal::UnknownName) == 1
    })
    .await;

    let misdirected = Http1::tls(&rig, "tasks.test")
        .await
        .ask(get("https://other.test/"))
        .await
        .unwrap();
    assert_eq!(misdirected.status, 421);
    let misdirected = Http2::tls(&rig, "tasks.test")
        .await
        .ask(get("https://other.test/"))
        .await
        .unwrap();
    assert_eq!(misdirected.status, 421);

    let mut plain = Http1::plain(&rig).await;
    assert_eq!(
        plain.ask(get("http://unknown.test/")).await.unwrap().status,
        404
    );
    let mut by_port = get("http://tasks.test/a?b=c");
    by_port
        .headers_mut()
        .insert("host", "tasks.test:8080".parse().unwrap());
    let redirect = plain.ask(by_port).await.unwrap();
    assert_eq!(
        redirect.header("location"),
        format!("https://tasks.test:{}/a?b=c", rig.https.port())
    );
    let redirect = plain.ask(get("http://tasks.test/a?b=c")).await.unwrap();
    assert_eq!(
        (redirect.status.as_u16(), redirect.header("location")),
        (308, "https://tasks.test/a?b=c")
    );
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn f5_without_a_name_the_box_shows_its_own_certificate_and_dashboard() {
    let (dashboard, app) = (app("dashboard").await, app("one").await);
    let mut world = World::of([route("tasks.test", &[&target(app.address)])]);
    world.default_route = Some(route("box", &[&target(dashboard.address)]));
    let rig = Rig::start(world);
    // A client that connects to an address sends no name.
    let mut client = Http1::tls(&rig, "127.0.0.1").await;
    assert_eq!(
        client
            .ask(get("https://127.0.0.1/"))
            .await
            .unwrap()
            .header("x-app"),
        "dashboard"
    );
    assert_eq!(
        client.ask(get("https://tasks.test/")).await.unwrap().status,
        421
    );
    assert_eq!(
        client
            .ask(get("https://rebound.test/"))
            .await
            .unwrap()
            .status,
        404
    );
    let redirect = Http1::plain(&rig)
        .await
        .ask(get("http://127.0.0.1/login"))
        .await
        .unwrap();
    assert_eq!(redirect.header("location"), "https://127.0.0.1/login");
}

#[tokio::test]
async fn f5_acme_tokens_are_answered_and_a_certificate_on_its_way_is_said_so() {
    let app = app("one").await;
    let mut world = World::of([route("new.test", &[&target(app.address)])]);
    world.without_certificate = vec!["new.test"];
    world.challenges = vec![("token1", "token1.thumbprint")];
    let rig = Rig::start(world);
    let mut plain = Http1::plain(&rig).await;
    let answer = plain
        .ask(get("http://new.test/.well-known/acme-challenge/token1"))
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (200, "token1.thumbprint")
    );
    let pending = plain.ask(get("http://new.test/")).await.unwrap();
    assert_eq!(
        (pending.status.as_u16(), pending.header("retry-after")),
        (503, "10")
    );
    assert!(tls(&rig, "new.test", "h2").await.is_err());

    rig.publish(World::of([route("new.test", &[&target(app.address)])]));
    assert_eq!(
        plain.ask(get("http://new.test/")).await.unwrap().status,
        308
    );
    assert_eq!(fetch(&rig, "https://new.test/").await.status, 200);
    assert_eq!(
        plain
            .ask(get("http://new.test/.well-known/acme-challenge/token1"))
            .await
            .unwrap()
            .status,
        308
    );
}

#[tokio::test]
async fn f5_a_certificate_is_exchanged_without_a_restart() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let serial = |stream: &tokio_rustls::client::TlsStream<tokio::net::TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0]
            .as_ref()
            .to_vec()
    };
    let first = serial(&tls(&rig, "tasks.test", "h2").await.unwrap());
    // Publishing without the route forgets the certificate; publishing it again issues another.
    rig.publish(World::default());
    assert!(tls(&rig, "tasks.test", "h2").await.is_err());
    rig.publish(World::of([route("tasks.test", &[&target(app.address)])]));
    assert_ne!(first, serial(&tls(&rig, "tasks.test", "h2").await.unwrap()));
}

#[tokio::test]
async fn f5_errors_come_in_the_form_the_client_reads() {
    let rig = Rig::start(World::default());
    let mut plain = Http1::plain(&rig).await;
    for (accept, kind) in [
        ("text/html,*/*", "text/html"),
        ("application/json", "application/problem+json"),
        ("*/*", "text/plain"),
    ] {
        let mut request = get("http://unknown.test/");
        request
            .headers_mut()
            .insert("accept", accept.parse().unwrap());
        let answer = plain.ask(request).await.unwrap();
        assert_eq!(answer.status, 404);
        assert!(answer.header("content-type").starts_with(kind));
        assert!(
            answer.text().contains(answer.header("x-request-id"))
                && answer.header("x-request-id").len() == 32
        );
    }
}

#[tokio::test]
async fn f2_an_upstream_on_a_unix_socket_is_served_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4_096];
            while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await
            {
                let seen =
                    String::from_utf8_lossy(&head[..count]).contains("x-forwarded-for: 127.0.0.1");
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{seen:<5}");
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes())
                    .await
                    .unwrap();
            }
        }
    });
    let dashboard = freehold::proxy::Target::new("dashboard", freehold::proxy::Address::Unix(path));
    let rig = Rig::start(World::of([route("panel.test", &[&dashboard])]));
    let mut client = Http1::tls(&rig, "panel.test").await;
    for _ in 0..3 {
        assert_eq!(
            client.ask(get("https://panel.test/")).await.unwrap().text(),
            "true "
        );
    }
}
