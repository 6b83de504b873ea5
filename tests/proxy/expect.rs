//! `Expect: 100-continue`: granted by the app, refused by it or by the edge, and what becomes of it where nobody says anything.
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::app::{App, raw, read_head};
use crate::client::{Http2, post, tls};
use crate::h2c::frames;
use crate::rig::{Rig, World, h2c_target, route, target, within};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long the apps here think before they grant.
const THOUGHT: Duration = Duration::from_millis(200);
/// After this the edge sends the body unasked.
const UNASKED: Duration = Duration::from_secs(1);

const HEAD: &str =
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n";
const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n5";

fn closing() -> String {
    format!("{HEAD}Connection: close\r\n\r\n")
}

/// When the client was told to go on, and all that came after its body.
async fn asked(rig: &Rig) -> (Instant, String) {
    let mut stream = tls(rig, "tasks.test", "http/1.1").await.unwrap();
    stream.write_all(closing().as_bytes()).await.unwrap();
    let mut interim = [0; INTERIM.len()];
    let reading = stream.read_exact(&mut interim);
    within(PATIENCE, "100", reading).await.unwrap();
    let came = Instant::now();
    assert_eq!(std::str::from_utf8(&interim).unwrap(), INTERIM);
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    drop(within(PATIENCE, "an answer", stream.read_to_string(&mut answer)).await);
    (came, answer)
}

/// Whether the client heard it after the app had said it. `None`: that took so long that the edge may have gone on unasked.
async fn hears_it_after(rig: &Rig, words: &mut UnboundedReceiver<Instant>) -> Option<bool> {
    let begun = Instant::now();
    let (came, answer) = asked(rig).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n5"),
        "{answer}"
    );
    let word = within(PATIENCE, "its word", words.recv()).await.unwrap();
    (word - begun < UNASKED - THOUGHT).then_some(came >= word)
}

#[tokio::test]
async fn e2_no_100_continue_reaches_a_client_before_its_http1_app_has_granted_it() {
    let (saying, mut words) = unbounded_channel();
    let app = raw(move |mut stream, _| {
        let saying = saying.clone();
        async move {
            let head = read_head(&mut stream).await.unwrap();
            assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
            tokio::time::sleep(THOUGHT).await;
            saying.send(Instant::now()).unwrap();
            stream.write_all(INTERIM.as_bytes()).await.unwrap();
            let mut body = [0; 5];
            stream.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"hello");
            stream.write_all(TAKEN.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut judged = 0;
    for _ in 0..30 {
        if let Some(after) = hears_it_after(&rig, &mut words).await {
            assert!(after, "it was told before the app had said so");
            judged += 1;
        }
        if judged == 3 {
            break;
        }
    }
    assert_eq!(judged, 3, "the machine had no moment for it");
    // The saboteur: before an h2c app the edge grants it itself, while the app thinks, and the same look finds that.
    let (saying, mut words) = unbounded_channel();
    let app = frames(move |mut connection, _| {
        let saying = saying.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let saying = saying.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(THOUGHT).await;
                    saying.send(Instant::now()).unwrap();
                    let mut body = request.into_body();
                    while let Some(data) = body.data().await {
                        let count = data.unwrap().len();
                        body.flow_control().release_capacity(count).unwrap();
                    }
                    let mut answer = Response::new(());
                    answer.headers_mut().insert("content-length", 1.into());
                    let mut answer = respond.send_response(answer, false).unwrap();
                    answer.send_data("5".into(), true).unwrap();
                });
            }
        }
    })
    .await;
    let target = h2c_target(app.address);
    rig.publish(World::of([route("tasks.test", &[&target])]));
    for _ in 0..30 {
        if hears_it_after(&rig, &mut words).await == Some(false) {
            return;
        }
    }
    panic!("a grant that comes too early is not found");
}

/// RFC 9110, 10.1.1: what waits for a word does so for a while, and not for ever.
#[tokio::test]
async fn e2_an_http1_app_that_says_nothing_to_an_expectation_gets_the_body_after_a_second() {
    let app = raw(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
        stream.write_all(TAKEN.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let over_http2 = async |expects: bool| {
        let mut client = Http2::tls(&rig, "tasks.test").await;
        let mut request = post("https://tasks.test/", "hello");
        if expects {
            let expectation = "100-continue".parse().unwrap();
            request.headers_mut().insert("expect", expectation);
        }
        let begun = Instant::now();
        let answer = within(PATIENCE, "an answer", client.ask(request)).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "5"));
        begun.elapsed()
    };
    let over_http1 = async {
        let begun = Instant::now();
        let (came, answer) = asked(&rig).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        came - begun
    };
    let (http1, http2) = tokio::join!(over_http1, over_http2(true));
    assert!(http1 >= UNASKED, "HTTP/1.1: told after {http1:?}");
    // Nothing tells such a client to go on, and its body comes at once: it lies here until the app wants it.
    assert!(http2 >= UNASKED, "HTTP/2: answered after {http2:?}");
    // The saboteur: a body that nobody has to ask for comes sooner.
    for _ in 0..30 {
        if over_http2(false).await < UNASKED {
            return;
        }
    }
    panic!("a body that does not wait is not told from one that does");
}

/// An app that answers each request with this, and tells how many bytes came behind the head before its connection ended.
async fn deciding(answer: &'static str) -> (App, UnboundedReceiver<usize>) {
    let (saying, heard) = unbounded_channel();
    let app = raw(move |mut stream, _| {
        let saying = saying.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut body = Vec::new();
            if answer == INTERIM {
                body.resize(5, 0);
                stream.read_exact(&mut body).await.unwrap();
                stream.write_all(TAKEN.as_bytes()).await.unwrap();
            } else {
                drop(stream.read_to_end(&mut body).await);
            }
            saying.send(body.len()).unwrap();
        }
    })
    .await;
    (app, heard)
}

/// The status for a client over HTTP/2 that sends its body once it has waited for this long for an answer.
async fn status_over_http2(rig: &Rig, waits: Duration) -> u16 {
    let stream = tls(rig, "tasks.test", "h2").await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let serving = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = Request::post("https://tasks.test/")
        .header("expect", "100-continue")
        .header("content-length", 5)
        .body(())
        .unwrap();
    let (mut response, mut body) = sender.send_request(request, false).unwrap();
    let response = match tokio::time::timeout(waits, &mut response).await {
        Ok(response) => response,
        Err(_) => {
            body.send_data("hello".into(), true).unwrap();
            within(PATIENCE, "an answer", response).await
        }
    };
    serving.abort();
    response.unwrap().status().as_u16()
}

/// All that a client over HTTP/1.1 hears that never sends its body.
async fn heard_over_http1(rig: &Rig) -> String {
    let mut stream = tls(rig, "tasks.test", "http/1.1").await.unwrap();
    stream
        .write_all(format!("{HEAD}\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    drop(within(PATIENCE, "the end", reading).await);
    answer
}

#[tokio::test]
async fn e2_an_app_that_refuses_an_expectation_is_heard_and_nobody_sends_the_body() {
    for (answer, status) in [
        (
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno",
            413,
        ),
        (
            "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno",
            417,
        ),
    ] {
        let (app, mut heard) = deciding(answer).await;
        let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
        // The connection ends with it: what the client may still send is no request.
        let told = heard_over_http1(&rig).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
        assert!(told.ends_with("\r\n\r\nno"), "{told}");
        assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{told}");
        let waits = 2 * PATIENCE;
        let over_http2 = within(PATIENCE, "an answer", status_over_http2(&rig, waits)).await;
        assert_eq!(over_http2, status);
        for _ in 0..2 {
            let came = within(PATIENCE, "the app's end", heard.recv()).await;
            assert_eq!(came, Some(0), "{status}");
        }
    }
    // The saboteur: of an app that grants it the same look finds the body, from both.
    let (app, mut heard) = deciding(INTERIM).await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let (_, answer) = asked(&rig).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let status = status_over_http2(&rig, Duration::from_millis(50)).await;
    assert_eq!(status, 200);
    for _ in 0..2 {
        let came = within(PATIENCE, "the app's end", heard.recv()).await;
        assert_eq!(came, Some(5));
    }
}

#[tokio::test]
async fn e2_what_is_too_large_for_its_route_is_refused_before_its_body_is_asked_for() {
    let (app, mut heard) = deciding(INTERIM).await;
    let with_limit = |bytes| {
        let mut spec = route("tasks.test", &[&target(app.address)]);
        spec.body_bytes = Some(bytes);
        World::of([spec])
    };
    let rig = Rig::start(with_limit(4));
    let told = heard_over_http1(&rig).await;
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{told}");
    let refused = status_over_http2(&rig, 2 * PATIENCE);
    assert_eq!(within(PATIENCE, "an answer", refused).await, 413);
    assert_eq!(app.connections(), 0, "the app was asked");
    // The saboteur: with a byte more of a limit the app is asked, and grants it.
    rig.publish(with_limit(5));
    assert!(asked(&rig).await.1.starts_with("HTTP/1.1 200 OK\r\n"));
    let came = within(PATIENCE, "the app's end", heard.recv()).await;
    assert_eq!((came, app.connections()), (Some(5), 1));
}
