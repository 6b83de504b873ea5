//! What is never compressed, byte for byte as its app sent it, to clients over HTTP/1.1 and HTTP/2 that would take any coding.
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;

use crate::app::{App, always};
use crate::client::{Body, Http1, Http2, Whole, empty};
use crate::compress::compressing;
use crate::h2c::frames;
use crate::rig::{Rig, World, h2c_target, route, target};

/// A line that a page of a thousand bytes and more is made of, in every answer here that has a body.
const LINE: &str = "What stands here forty times over would become much smaller.\n";

fn page() -> String {
    LINE.repeat(40)
}

fn request(method: &Method, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri("https://tasks.test/")
        .header("accept-encoding", "gzip, br, zstd");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(empty()).unwrap()
}

/// The answers over both protocols, on a route that compresses.
async fn both(rig: &Rig, method: &Method, fields: &[(&str, &str)]) -> [Whole; 2] {
    let mut http1 = Http1::tls(rig, "tasks.test").await;
    let mut http2 = Http2::tls(rig, "tasks.test").await;
    [
        http1.ask(request(method, fields)).await.unwrap(),
        http2.ask(request(method, fields)).await.unwrap(),
    ]
}

/// An HTTP/1.1 app that answers each request with this status, these lines and this body.
async fn saying(status: &str, lines: &[&str], body: &str) -> App {
    let mut answer = format!("HTTP/1.1 {status}\r\netag: \"abc\"\r\n");
    for line in lines {
        answer.push_str(&format!("{line}\r\n"));
    }
    answer.push_str("\r\n");
    answer.push_str(body);
    always(answer.leak()).await
}

/// Status and fields of an answer, the body that it has, and whether it comes chunked.
struct Said {
    status: &'static str,
    lines: &'static [&'static str],
    has_body: bool,
    chunked: bool,
}

const fn whole(status: &'static str, lines: &'static [&'static str]) -> Said {
    Said {
        status,
        lines,
        has_body: true,
        chunked: false,
    }
}

const fn streamed(lines: &'static [&'static str]) -> Said {
    Said {
        chunked: true,
        ..whole("200 OK", lines)
    }
}

const fn bodiless(status: &'static str, lines: &'static [&'static str]) -> Said {
    Said {
        has_body: false,
        ..whole(status, lines)
    }
}

const HTML: &str = "content-type: text/html";
const EVENTS: &str = "content-type: text/event-stream";
const GRPC: &str = "content-type: application/grpc+proto";

#[tokio::test]
async fn e6_streams_parts_coded_and_bodiless_answers_are_never_compressed() {
    let (get, head, post) = (Method::GET, Method::HEAD, Method::POST);
    let range = ("range", "bytes=0-2439");
    for (what, method, fields, said, vary) in [
        ("events", &get, &[][..], streamed(&[EVENTS]), ""),
        (
            "events with a parameter",
            &get,
            &[],
            streamed(&["content-type: Text/Event-Stream; charset=utf-8"]),
            "",
        ),
        (
            "events of a length",
            &get,
            &[],
            whole("200 OK", &[EVENTS]),
            "",
        ),
        ("a gRPC stream", &post, &[], streamed(&[GRPC]), ""),
        (
            "a gRPC answer of a length",
            &post,
            &[],
            whole("200 OK", &[GRPC]),
            "",
        ),
        (
            "a part",
            &get,
            &[range],
            whole(
                "206 Partial Content",
                &[HTML, "content-range: bytes 0-2439/9000"],
            ),
            "",
        ),
        (
            "a part that nobody asked for",
            &get,
            &[],
            whole("206 Partial Content", &[HTML]),
            "",
        ),
        (
            "the whole for a part",
            &get,
            &[range],
            whole("200 OK", &[HTML]),
            "accept-encoding",
        ),
        (
            "no such part",
            &get,
            &[("range", "bytes=9000-")],
            whole(
                "416 Range Not Satisfiable",
                &[HTML, "content-range: bytes */2440"],
            ),
            "",
        ),
        (
            "gzip",
            &get,
            &[],
            whole(
                "200 OK",
                &[HTML, "content-encoding: gzip", "vary: accept-encoding"],
            ),
            "accept-encoding",
        ),
        (
            "Brotli for all",
            &get,
            &[],
            whole("200 OK", &[HTML, "content-encoding: br"]),
            "",
        ),
        (
            "two codings",
            &get,
            &[],
            whole("200 OK", &[HTML, "content-encoding: x-own, gzip"]),
            "",
        ),
        (
            "not to be changed",
            &get,
            &[],
            whole(
                "200 OK",
                &[
                    HTML,
                    "cache-control: max-age=60, no-transform",
                    "vary: origin",
                ],
            ),
            "origin",
        ),
        (
            "asked for unchanged",
            &get,
            &[("cache-control", "no-transform")],
            whole("200 OK", &[HTML]),
            "accept-encoding",
        ),
        (
            "the head of events",
            &head,
            &[],
            bodiless("200 OK", &[EVENTS]),
            "",
        ),
        (
            "the head of what is coded",
            &head,
            &[],
            bodiless(
                "200 OK",
                &[HTML, "content-encoding: gzip", "content-length: 2440"],
            ),
            "",
        ),
        (
            "nothing",
            &get,
            &[],
            bodiless("204 No Content", &[HTML]),
            "",
        ),
        (
            "what the client has",
            &get,
            &[("if-none-match", "\"abc\"")],
            bodiless("304 Not Modified", &[HTML]),
            "accept-encoding",
        ),
    ] {
        let page = if said.has_body { page() } else { String::new() };
        let length = format!("content-length: {}", page.len());
        let (framing, body) = match (said.has_body, said.chunked) {
            (false, _) => (None, String::new()),
            (true, false) => (Some(&*length), page.clone()),
            (true, true) => {
                let pieces = LINE.repeat(20);
                let piece = format!("{:x}\r\n{pieces}\r\n", pieces.len());
                let chunks = format!("{piece}{piece}0\r\n\r\n");
                (Some("transfer-encoding: chunked"), chunks)
            }
        };
        let lines: Vec<&str> = said.lines.iter().copied().chain(framing).collect();
        let app = saying(said.status, &lines, &body).await;
        let spec = route("tasks.test", &[&target(app.address)]);
        let rig = Rig::start(World::of([compressing(spec, "compress = true")]));
        for answer in both(&rig, method, fields).await {
            assert_eq!(answer.status.as_str(), &said.status[..3], "{what}");
            assert!(answer.body == page, "{what}: {}", answer.body.len());
            for line in said.lines {
                let (name, value) = line.split_once(": ").unwrap();
                assert_eq!(answer.header(name), value, "{what}");
            }
            let is_coded = lines
                .iter()
                .any(|line| line.starts_with("content-encoding"));
            let coding = answer.headers.contains_key("content-encoding");
            assert_eq!(coding, is_coded, "{what}");
            assert_eq!(answer.header("etag"), "\"abc\"", "{what}");
            assert_eq!(answer.header("vary"), vary, "{what}");
            if said.has_body && !said.chunked {
                let length = page.len().to_string();
                assert_eq!(answer.header("content-length"), length, "{what}");
            }
        }
    }
}

/// The saboteur: the same page, with nothing that forbids it, comes coded to both, with a weak tag, and says that it varies.
#[tokio::test]
async fn e6_the_same_page_is_compressed_where_nothing_forbids_it() {
    let page = page();
    let length = format!("content-length: {}", page.len());
    for (tag, weak) in [("\"abc\"", "W/\"abc\""), ("W/\"def\"", "W/\"def\"")] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{HTML}\r\n{length}\r\netag: {tag}\r\nvary: origin\r\n\r\n{page}"
        );
        let app = always(answer.leak()).await;
        let spec = route("tasks.test", &[&target(app.address)]);
        let rig = Rig::start(World::of([compressing(spec, "compress = true")]));
        // On a busy machine some go as they are.
        let mut coded = [false; 2];
        for _ in 0..200 {
            for (at, answer) in both(&rig, &Method::GET, &[]).await.into_iter().enumerate() {
                let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
                assert_eq!(vary, ["origin", "accept-encoding"]);
                if answer.header("content-encoding").is_empty() {
                    continue;
                }
                coded[at] = true;
                assert_eq!(answer.header("content-encoding"), "zstd");
                assert_eq!(answer.header("etag"), weak);
                let told = answer.header("content-length").parse();
                assert_eq!(told, Ok(answer.body.len()));
                let plain = zstd::stream::decode_all(&*answer.body).unwrap();
                assert!(plain == page.as_bytes());
            }
            if coded == [true; 2] {
                break;
            }
        }
        assert_eq!(coded, [true; 2], "{tag}");
    }
}

/// As gRPC is spoken: over HTTP/2 to the app, its status in trailers. And the saboteur beside it: a page of the same app.
#[tokio::test]
async fn e6_grpc_of_an_h2c_app_is_never_compressed() {
    let app = frames(|mut connection, _| async move {
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let page = Bytes::from(page());
            let is_grpc = request.headers().contains_key("x-call");
            let kind = if is_grpc {
                "application/grpc"
            } else {
                "text/html"
            };
            let mut answer = Response::builder().header("content-type", kind);
            if !is_grpc || request.headers()["x-call"] == "length" {
                answer = answer.header("content-length", page.len());
            }
            let answer = answer.body(()).unwrap();
            let mut stream = respond.send_response(answer, false).unwrap();
            if !is_grpc {
                stream.send_data(page, true).unwrap();
                continue;
            }
            stream.send_data(page, false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 0.into());
            stream.send_trailers(trailers).unwrap();
        }
    })
    .await;
    let spec = route("tasks.test", &[&h2c_target(app.address)]);
    let rig = Rig::start(World::of([compressing(spec, "compress = true")]));
    for call in ["stream", "length"] {
        for answer in both(&rig, &Method::POST, &[("x-call", call), ("te", "trailers")]).await {
            assert!(answer.body == page(), "{call}");
            assert_eq!(answer.header("content-encoding"), "", "{call}");
            assert_eq!(answer.header("vary"), "", "{call}");
        }
        let mut http2 = Http2::tls(&rig, "tasks.test").await;
        let asked = request(&Method::POST, &[("x-call", call), ("te", "trailers")]);
        let body = http2.send(asked).await.unwrap().into_body();
        let trailers = body.collect().await.unwrap().trailers().cloned();
        assert_eq!(trailers.unwrap()["grpc-status"], "0", "{call}");
    }
    for _ in 0..200 {
        let answers = both(&rig, &Method::GET, &[]).await;
        if answers
            .iter()
            .all(|answer| answer.header("content-encoding") == "zstd")
        {
            return;
        }
    }
    panic!("nothing of this app is compressed");
}
