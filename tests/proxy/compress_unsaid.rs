//! Compression of answers that say no length: of what is there at once, and never of a stream.
use std::sync::Arc;

use bytes::Bytes;
use freehold::proxy::Target;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::app::{App, raw, read_head};
use crate::client::{Body, Http1, Http2, Whole, empty};
use crate::compress::compressing;
use crate::h2c::frames;
use crate::rig::{Rig, World, h2c_target, route, target};

const LINE: &str = "What stands here over and over would become much smaller.\n";

fn page(lines: usize) -> String {
    LINE.repeat(lines)
}

/// How many lines a path asks for.
fn lines(path: &str) -> usize {
    let number = path.rsplit('/').next().unwrap();
    number.parse().unwrap_or(40)
}

/// `/LINES` is a page in two chunks at once; of `/stream` the second comes when it is told to, of `/broken` never. `/trailers`
/// has a trailer behind it.
async fn http1_app(go: Arc<Notify>) -> App {
    raw(move |mut stream, _| {
        let go = go.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let mut answer = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\netag: \"abc\"\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
                if head.starts_with("HEAD") {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    continue;
                }
                let page = page(lines(&path));
                let half = page.len() / 2;
                for (number, piece) in [&page[..half], &page[half..]].into_iter().enumerate() {
                    answer.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    answer.clear();
                    match &*path {
                        "/stream" if number == 0 => go.notified().await,
                        "/broken" => return,
                        _ => {}
                    }
                }
                let end = match &*path {
                    "/trailers" => "0\r\nx-sum: 7\r\n\r\n",
                    _ => "0\r\n\r\n",
                };
                stream.write_all(end.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

/// The same over HTTP/2, but for what breaks off.
async fn h2c_app(go: Arc<Notify>) -> App {
    frames(move |mut connection, _| {
        let go = go.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let answer = Response::builder()
                    .header("content-type", "text/html")
                    .header("etag", "\"abc\"")
                    .body(())
                    .unwrap();
                let is_head = request.method() == Method::HEAD;
                let mut stream = respond.send_response(answer, is_head).unwrap();
                if is_head {
                    continue;
                }
                let (path, go) = (request.uri().path().to_owned(), go.clone());
                tokio::spawn(async move {
                    let page = page(lines(&path));
                    let (first, second) = page.split_at(page.len() / 2);
                    stream.send_data(first.to_owned().into(), false).unwrap();
                    if path == "/stream" {
                        go.notified().await;
                    }
                    let has_trailers = path == "/trailers";
                    let second = Bytes::from(second.to_owned());
                    stream.send_data(second, !has_trailers).unwrap();
                    if has_trailers {
                        let mut trailers = HeaderMap::new();
                        trailers.insert("x-sum", 7.into());
                        stream.send_trailers(trailers).unwrap();
                    }
                });
            }
        }
    })
    .await
}

fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("https://page.test{path}"))
        .header("accept-encoding", "zstd")
        .body(empty())
        .unwrap()
}

fn rig(target: &Arc<Target>) -> Rig {
    let spec = route("page.test", &[target]);
    Rig::start(World::of([compressing(spec, "compress = true")]))
}

async fn both(rig: &Rig, method: Method, path: &str) -> [Whole; 2] {
    let mut http1 = Http1::tls(rig, "page.test").await;
    let mut http2 = Http2::tls(rig, "page.test").await;
    [
        http1.ask(request(method.clone(), path)).await.unwrap(),
        http2.ask(request(method, path)).await.unwrap(),
    ]
}

/// An app of each protocol, and what lets their streams go on.
async fn apps() -> Vec<(App, Rig, Arc<Notify>)> {
    let go = || Arc::new(Notify::new());
    let (one, two) = (go(), go());
    let http1 = http1_app(one.clone()).await;
    let h2c = h2c_app(two.clone()).await;
    let (of_http1, of_h2c) = (rig(&target(http1.address)), rig(&h2c_target(h2c.address)));
    vec![(http1, of_http1, one), (h2c, of_h2c, two)]
}

#[tokio::test]
async fn e6_a_page_without_a_length_that_is_there_at_once_is_compressed() {
    for (_app, rig, _) in apps().await {
        // On a busy machine some come too late, and go as they are.
        let mut coded = [false; 2];
        for _ in 0..500 {
            let answers = both(&rig, Method::GET, "/400").await;
            for (at, answer) in answers.into_iter().enumerate() {
                assert_eq!(answer.header("vary"), "accept-encoding");
                if answer.header("content-encoding").is_empty() {
                    assert!(answer.body == page(400));
                    assert_eq!(answer.header("etag"), "\"abc\"");
                    continue;
                }
                coded[at] = true;
                assert_eq!(answer.header("content-encoding"), "zstd");
                assert_eq!(answer.header("etag"), "W/\"abc\"");
                let told = answer.header("content-length").parse();
                assert_eq!(told, Ok(answer.body.len()));
                let plain = zstd::stream::decode_all(&*answer.body).unwrap();
                assert!(plain == page(400).as_bytes());
            }
            if coded == [true; 2] {
                break;
            }
        }
        assert_eq!(coded, [true; 2]);
    }
}

#[tokio::test]
async fn e6_a_stream_without_a_length_begins_at_once_and_goes_as_it_is() {
    async fn first_half(mut response: Response<Incoming>) -> (Response<Incoming>, Vec<u8>) {
        let mut read = Vec::new();
        while read.len() < page(20).len() {
            let frame = response.body_mut().frame().await.unwrap().unwrap();
            read.extend_from_slice(frame.data_ref().unwrap());
        }
        (response, read)
    }
    for (_app, rig, go) in apps().await {
        let mut http1 = Http1::tls(&rig, "page.test").await;
        let mut http2 = Http2::tls(&rig, "page.test").await;
        for version in [1, 2] {
            let asked = request(Method::GET, "/stream");
            let answer = match version {
                1 => http1.send(asked).await.unwrap(),
                _ => http2.send(asked).await.unwrap(),
            };
            let headers = answer.headers();
            assert!(!headers.contains_key("content-encoding"));
            assert!(!headers.contains_key("content-length"));
            assert_eq!(headers["etag"], "\"abc\"");
            // The app waits with the rest until the beginning is here.
            let (answer, mut read) = first_half(answer).await;
            go.notify_one();
            let rest = answer.into_body().collect().await.unwrap().to_bytes();
            read.extend_from_slice(&rest);
            assert!(read == page(40).as_bytes());
        }
    }
}

#[tokio::test]
async fn e6_what_says_no_length_goes_as_it_is_when_it_is_short_long_or_has_trailers() {
    for (_app, rig, _) in apps().await {
        // Less than is worth it, and more than is held.
        for path in ["/2", "/40000", "/trailers"] {
            for answer in both(&rig, Method::GET, path).await {
                assert_eq!(answer.header("content-encoding"), "", "{path}");
                assert_eq!(answer.header("etag"), "\"abc\"", "{path}");
                assert_eq!(answer.header("vary"), "accept-encoding", "{path}");
                assert!(answer.body == page(lines(path)), "{path}");
            }
        }
        let mut http2 = Http2::tls(&rig, "page.test").await;
        let answer = http2.send(request(Method::GET, "/trailers")).await.unwrap();
        let trailers = answer.into_body().collect().await.unwrap();
        assert_eq!(trailers.trailers().unwrap()["x-sum"], "7");
        for answer in both(&rig, Method::HEAD, "/400").await {
            assert_eq!(answer.header("content-encoding"), "");
            assert_eq!(answer.header("vary"), "accept-encoding");
        }
    }
}

/// Nothing of it has gone to the client yet, who is told so, or all that came has, and the connection ends there.
#[tokio::test]
async fn e6_what_says_no_length_and_breaks_off_never_passes_for_whole() {
    let (app, rig, _) = apps().await.swap_remove(0);
    for _ in 0..10 {
        let mut client = Http1::tls(&rig, "page.test").await;
        match client.ask(request(Method::GET, "/broken")).await {
            Ok(answer) => assert_eq!(answer.status, StatusCode::BAD_GATEWAY),
            Err(error) => assert!(!error.is_timeout(), "{error}"),
        }
    }
    drop(app);
}
