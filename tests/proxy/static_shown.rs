//! A folder of which a route shows one folder alone.
use std::sync::Arc;

use freehold::proxy::{RouteSpec, StaticSite, Upstream};
use http::StatusCode;

use crate::client::{Http2, Whole, bytes, get};
use crate::rig::{Rig, World, route};
use crate::static_site::{IMMUTABLE, write};

const FILES: &[(&str, &[u8])] = &[
    ("index.html", b"front"),
    ("404.html", b"nowhere"),
    ("docs.txt", b"beside"),
    ("docs/index.html", b"docs"),
    ("docs/404.html", b"nowhere in the docs"),
    ("docs/en/index.html", b"english"),
    ("docs/app.3f2a9c1b.js", b"let a = 0;"),
    ("docs/app.3f2a9c1b.js.br", b"coded"),
    ("docs2/a.txt", b"another"),
];

fn spec(place: &str, site: StaticSite) -> RouteSpec {
    RouteSpec {
        upstream: Upstream::Static(Arc::new(site)),
        ..route(place, &[])
    }
}

async fn ask(rig: &Rig, uri: &str) -> Whole {
    let name = uri.parse::<http::Uri>().unwrap().host().unwrap().to_owned();
    let mut request = get(uri);
    request
        .headers_mut()
        .insert("accept", "text/html".parse().unwrap());
    Http2::tls(rig, &name).await.ask(request).await.unwrap()
}

#[tokio::test]
async fn e6_a_route_shows_one_folder_of_a_site_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in FILES {
        write(folder.path(), name, content);
    }
    let whole = StaticSite::read(folder.path(), false, None).unwrap();
    let rig = Rig::start(World::of([
        spec("docs.test", whole.shown("docs", false)),
        spec("single.test", whole.shown("docs", true)),
        spec("none.test", whole.shown("dcos", true)),
        spec("path.test/help", whole.shown("docs", false)),
        spec("site.test", whole),
    ]));
    for (uri, status, text) in [
        ("https://docs.test/", 200, "docs"),
        ("https://docs.test/en/", 200, "english"),
        ("https://docs.test/docs.txt", 404, "nowhere in the docs"),
        ("https://docs.test/docs/", 404, "nowhere in the docs"),
        ("https://docs.test/2/a.txt", 404, "nowhere in the docs"),
        ("https://docs.test/cart", 404, "nowhere in the docs"),
        ("https://single.test/cart", 200, "docs"),
        ("https://path.test/help/en/", 200, "english"),
        (
            "https://path.test/help/docs/en/",
            404,
            "nowhere in the docs",
        ),
        ("https://site.test/", 200, "front"),
        ("https://site.test/docs.txt", 200, "beside"),
        ("https://site.test/docs/en/", 200, "english"),
        ("https://site.test/cart", 404, "nowhere"),
    ] {
        let answer = ask(&rig, uri).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (status, text),
            "{uri}"
        );
    }
    // A folder that is not there has no file, and no other's page.
    for path in ["/", "/index.html", "/a.txt"] {
        let answer = ask(&rig, &format!("https://none.test{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.text().contains("nowhere"), "{}", answer.text());
    }
    for (path, to) in [
        ("https://docs.test/en", "/en/"),
        ("https://path.test/help", "/help/"),
    ] {
        let sent = ask(&rig, path).await;
        assert_eq!(sent.status, StatusCode::PERMANENT_REDIRECT);
        assert_eq!(sent.header("location"), to);
    }
    let mut request = get("https://docs.test/app.3f2a9c1b.js");
    request
        .headers_mut()
        .insert("accept-encoding", "br".parse().unwrap());
    let coded = Http2::tls(&rig, "docs.test")
        .await
        .ask(request)
        .await
        .unwrap();
    assert_eq!(
        (coded.text(), coded.header("content-encoding")),
        ("coded", "br")
    );
    assert_eq!(coded.header("cache-control"), IMMUTABLE);
    // The same tag wherever it is shown.
    let there = ask(&rig, "https://site.test/docs/en/").await;
    let here = ask(&rig, "https://docs.test/en/").await;
    assert_eq!(there.header("etag"), here.header("etag"));
    for path in [
        "/../docs.txt",
        "/%2e%2e/docs.txt",
        "/..%2fdocs.txt",
        "/en/../../docs.txt",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: docs.test\r\nconnection: close\r\n\r\n");
        let answer = bytes(&rig, "docs.test", head).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && !answer.contains("beside"),
            "{path}: {answer}"
        );
    }
}
