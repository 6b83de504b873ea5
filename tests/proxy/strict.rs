//! Strict: what could be read in two ways is read in none, on both sides. `table` has what clients send, row by row.
use std::time::{Duration, Instant};

use freehold::proxy::{Limits, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{App, always, app, raw, read_head};
use crate::client::{Http1, Http2, bytes, get, tls};
use crate::rig::{Rig, World, route, target};

#[tokio::test]
async fn f5_ambiguous_requests_are_refused() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let ask = |head: &'static str| bytes(&rig, "tasks.test", head);
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nHost: tasks.test\r\nHost: tasks.test\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        (
            "GET / HTTP/1.1\r\nHost: a@tasks.test\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET http://other.test/ HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: +5\r\n\r\nhello",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: gzip\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "501",
        ),
        (
            "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "GET ftp://tasks.test/ HTTP/1.1\r\nHost: tasks.test\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.0\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\nHost: tasks.test\r\nX : y\r\n\r\n", "400"),
        (
            "GET / HTTP/1.1\r\nHost: tasks.test\r\nX: a\r\n b\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/3.0\r\nHost: tasks.test\r\n\r\n", "505"),
        ("nonsense\r\n\r\n", "400"),
        (
            "CONNECT tasks.test:443 HTTP/1.1\r\nHost: tasks.test:443\r\nConnection: close\r\n\r\n",
            "405",
        ),
        (
            "TRACE / HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n",
            "405",
        ),
    ] {
        let answer = ask(request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?} got {answer:?}"
        );
    }
    assert_eq!(app.requests(), 0);
}

/// An edge in front of an app, at which a head has four seconds to come.
async fn in_four_seconds() -> (Rig, App) {
    let app = app("one").await;
    let limits = Limits {
        client_header: Duration::from_secs(4),
        workers: Some(2),
        ..Limits::default()
    };
    let world = World::of([route("tasks.test", &[&target(app.address)])]);
    (Rig::with_limits(world, limits), app)
}

/// A part of a head that comes behind a request is given the time of a head, as one that comes alone.
#[tokio::test]
async fn e3_part_of_a_second_head_is_waited_for_and_not_for_ever() {
    let (rig, _app) = in_four_seconds().await;
    let request = "GET /empty HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
    for cut in [1, 20, request.len() - 1] {
        let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
        let first = [request, &request[..cut]].concat();
        stream.write_all(first.as_bytes()).await.unwrap();
        // Long enough for the connection to be parked.
        tokio::time::sleep(Duration::from_millis(800)).await;
        stream.write_all(&request.as_bytes()[cut..]).await.unwrap();
        stream.write_all(&request.as_bytes()[..cut]).await.unwrap();
        let begun = Instant::now();
        let mut answers = Vec::new();
        // Dropped, it ends without the word of TLS that it does.
        drop(stream.read_to_end(&mut answers).await);
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(answers.matches("HTTP/1.1 204").count(), 2, "{answers}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{cut}");
    }
}

/// A head that begins on a parked connection is due as any other, not when the connection's idle time is over.
#[tokio::test]
async fn e4_a_head_that_begins_while_parked_has_the_time_of_a_head() {
    let (rig, _app) = in_four_seconds().await;
    let request = "GET /empty HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    // Long enough for the connection to be parked.
    tokio::time::sleep(Duration::from_millis(800)).await;
    stream.write_all(&request.as_bytes()[..20]).await.unwrap();
    let begun = Instant::now();
    let mut answers = Vec::new();
    drop(stream.read_to_end(&mut answers).await);
    let answers = String::from_utf8_lossy(&answers);
    assert_eq!(answers.matches("HTTP/1.1 204").count(), 1, "{answers}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

/// What a client sends behind a request for another protocol is HTTP if the app says no, and the tunnel's if it says yes.
#[tokio::test]
async fn e3_what_follows_an_upgrade_is_judged_by_the_answer() {
    let head =
        "GET /seen HTTP/1.1\r\nHost: tasks.test\r\nConnection: upgrade\r\nUpgrade: x-lines\r\n\r\n";
    let refusing = app("one").await;
    let rig = Rig::start(World::of([route(
        "tasks.test",
        &[&target(refusing.address)],
    )]));
    let begun = Instant::now();
    let next = "GET /seen?next HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
    let answers = bytes(&rig, "tasks.test", [head, next].concat()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it was waited for"
    );
    let answers = bytes(&rig, "tasks.test", [head, "a\nb"].concat()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 400").count(), 1, "{answers}");

    let changing = raw(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let yes =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x-lines\r\n\r\n";
        stream.write_all(yes.as_bytes()).await.unwrap();
        let mut lines = [0; 5];
        stream.read_exact(&mut lines).await.unwrap();
        stream.write_all(&lines).await.unwrap();
    })
    .await;
    let rig = Rig::start(World::of([route(
        "tasks.test",
        &[&target(changing.address)],
    )]));
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"a\nb").await.unwrap();
    stream.write_all(b"\n\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"a\nb\n\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
}

/// A person whose cookies have grown too large reads a page, a program its JSON, and HEAD gets no body.
#[tokio::test]
async fn e3_a_head_that_is_refused_is_answered_in_the_form_it_asks_for() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    for (method, accept, begins) in [
        ("GET", "text/html,*/*", "<!doctype html>"),
        ("GET", "application/json", "{"),
        ("GET", "*/*", "The headers are too large"),
        ("HEAD", "text/html", ""),
    ] {
        let cookie = "c".repeat(50_000);
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: tasks.test\r\nAccept: {accept}\r\nCookie: {cookie}\r\n\r\n"
        );
        let answer = bytes(&rig, "tasks.test", request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        assert!(head.contains("\r\nx-request-id: "), "{head}");
        assert!(head.contains("\r\nconnection: close"), "{head}");
        assert!(body.starts_with(begins), "{body}");
        assert_eq!(body.is_empty(), begins.is_empty());
    }
    assert_eq!(app.requests(), 0);
    assert_eq!(rig.edge.stats().refusals.of(Refusal::BadRequest), 4);
}

#[tokio::test]
async fn e3_options_of_the_whole_server_reaches_the_app_at_its_root() {
    let (root, api) = (app("root").await, app("api").await);
    let rig = Rig::start(World::of([
        route("tasks.test", &[&target(root.address)]),
        route("tasks.test/api", &[&target(api.address)]),
        route("only.test/api", &[&target(api.address)]),
    ]));
    for (host, answer) in [("tasks.test", "200"), ("only.test", "404")] {
        let request = format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let got = bytes(&rig, host, request).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {answer} ")), "{got}");
    }
    assert_eq!((root.requests(), api.requests()), (1, 0));
    let target_seen = raw(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        let line = head.lines().next().unwrap();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}",
            line.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::start(World::of([route(
        "tasks.test",
        &[&target(target_seen.address)],
    )]));
    let request = "OPTIONS * HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
    let got = bytes(&rig, "tasks.test", request).await;
    assert!(got.ends_with("OPTIONS * HTTP/1.1"), "{got}");
    // Any other method means a thing, and * is none.
    let got = bytes(&rig, "tasks.test", request.replace("OPTIONS", "GET")).await;
    assert!(got.starts_with("HTTP/1.1 400 "), "{got}");
    // Without https it leads there, to a place that there is.
    let request = "OPTIONS * HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
    let mut stream = tokio::net::TcpStream::connect(rig.http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("location: https://tasks.test/\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn f5_what_follows_a_request_is_never_the_apps_to_read() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    // Two requests, pipelined: the second is one of ours too, so it gets our fields.
    let two = "POST /count HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 5\r\n\r\nhelloGET /seen HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
    let answer = bytes(&rig, "tasks.test", two).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("x-forwarded-proto: https\n"), "{answer}");
    // Upgrade to cleartext HTTP/2 would open a way past us.
    let h2c = "GET /seen HTTP/1.1\r\nHost: tasks.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\nGET /seen HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
    let answer = bytes(&rig, "tasks.test", h2c).await;
    assert!(
        !answer.to_lowercase().contains("h2c") && !answer.to_lowercase().contains("http2-settings"),
        "{answer}"
    );
}

#[tokio::test]
async fn f5_answers_that_end_in_two_places_are_not_passed_on() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
    ] {
        let app = always(answer).await;
        let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
        let got = Http1::tls(&rig, "tasks.test")
            .await
            .ask(get("https://tasks.test/"))
            .await
            .unwrap();
        assert_eq!(got.status, 502, "{answer:?}");
        assert!(!got.text().contains("127.0.0.1"));
    }
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    let app = always(large.leak()).await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    assert_eq!(
        Http2::tls(&rig, "tasks.test")
            .await
            .ask(get("https://tasks.test/"))
            .await
            .unwrap()
            .status,
        502
    );
}

#[tokio::test]
async fn f5_an_answer_with_a_second_one_behind_it_poisons_nobody() {
    let app = always("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    for _ in 0..5 {
        assert_eq!(
            client.ask(get("https://tasks.test/")).await.unwrap().text(),
            "good"
        );
    }
    assert_eq!(app.connections(), 5);
}

#[tokio::test]
async fn f5_crumbs_of_cookies_and_hop_fields_of_http2_are_put_right() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut request = get("https://tasks.test/seen");
    for cookie in ["a=1", "b=2"] {
        request
            .headers_mut()
            .append("cookie", cookie.parse().unwrap());
    }
    let answer = Http2::tls(&rig, "tasks.test")
        .await
        .ask(request)
        .await
        .unwrap();
    assert!(
        answer.text().contains("cookie: a=1; b=2\n"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn f5_the_rest_of_a_body_nobody_wanted_is_never_a_request() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let smuggled = "GET /seen HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
    let length = smuggled.len() + 5;
    let mut stream = crate::client::tls(&rig, "tasks.test", "http/1.1")
        .await
        .unwrap();
    let head = format!(
        "POST /early HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: {length}\r\n\r\nhello"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Long enough for the connection to be taken for idle.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    drop(stream.write_all(smuggled.as_bytes()).await);
    let mut answers = Vec::new();
    drop(
        tokio::time::timeout(
            std::time::Duration::from_secs(20),
            stream.read_to_end(&mut answers),
        )
        .await,
    );
    let answers = String::from_utf8_lossy(&answers);
    assert!(answers.starts_with("HTTP/1.1 409 "), "{answers}");
    assert_eq!(
        (answers.matches("HTTP/1.1").count(), app.requests()),
        (1, 1),
        "{answers}"
    );
}

/// What an app says behind its answer to HEAD is not read as an answer to who asks next, whenever it comes.
/// The saboteur: who asks the app itself over one connection reads the forged answer.
#[tokio::test]
async fn e3_a_body_that_an_app_sends_to_head_is_nobodys_answer() {
    const FORGED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let app = raw(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let (length, body): (usize, &[u8]) = match head.starts_with("HEAD ") {
                true => (FORGED.len(), b""),
                false => (3, b"own"),
            };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream
                .write_all(&[answer.as_bytes(), body].concat())
                .await
                .unwrap();
            if body.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                // Nobody may be there any more.
                drop(stream.write_all(FORGED).await);
            }
        }
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    for _ in 0..5 {
        let mut head = get("https://tasks.test/");
        *head.method_mut() = http::Method::HEAD;
        assert_eq!(client.ask(head).await.unwrap().status, 200);
        let answer = client.ask(get("https://tasks.test/")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "own"));
    }
    let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let both = b"HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    stream.write_all(both).await.unwrap();
    read_head(&mut stream).await.unwrap();
    read_head(&mut stream).await.unwrap();
    let mut body = [0; 6];
    stream.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"forged");
}
