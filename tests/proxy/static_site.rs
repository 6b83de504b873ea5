//! Folders of files that the edge serves itself, over HTTP/1.1 and HTTP/2: manners, ranges, codings, and attacks.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use freehold::proxy::{RouteSpec, StaticSite, Upstream};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tempfile::TempDir;

use crate::client::{Body, Http1, Http2, Whole, empty, get};
use crate::rig::{Rig, World, route, until, within};

pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";

pub struct Site {
    pub folder: TempDir,
    pub rig: Rig,
}

/// A site of these files, at `site.test`.
pub fn site(files: &[(&str, &[u8])]) -> Site {
    site_at("site.test", false, files)
}

pub fn site_at(place: &str, single_page: bool, files: &[(&str, &[u8])]) -> Site {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        write(folder.path(), name, content);
    }
    let rig = Rig::start(World::of([spec(place, folder.path(), single_page)]));
    Site { folder, rig }
}

pub fn write(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub fn spec(place: &str, folder: &Path, single_page: bool) -> RouteSpec {
    let site = StaticSite::read(folder, single_page, None).unwrap();
    RouteSpec {
        upstream: Upstream::Static(Arc::new(site)),
        ..route(place, &[])
    }
}

fn request(method: Method, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://site.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(empty()).unwrap()
}

impl Site {
    /// The answer, which has to be the same over both protocols.
    async fn ask(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> Whole {
        let mut http1 = Http1::tls(&self.rig, "site.test").await;
        let one = http1
            .ask(request(method.clone(), path, fields))
            .await
            .unwrap();
        let mut http2 = Http2::tls(&self.rig, "site.test").await;
        let two = http2.ask(request(method, path, fields)).await.unwrap();
        assert_eq!(one.status, two.status, "{path}");
        if one.status.is_success() {
            assert_eq!(one.body, two.body, "{path}");
        }
        for name in [
            "etag",
            "content-type",
            "content-length",
            "content-encoding",
            "content-range",
            "cache-control",
            "vary",
            "last-modified",
            "location",
            "allow",
            "accept-ranges",
        ] {
            // Pages with the request's id in them are of one length, yet not the same.
            assert_eq!(one.header(name), two.header(name), "{name} of {path}");
        }
        one
    }

    pub async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Whole {
        self.ask(Method::GET, path, fields).await
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn read_again(&self) {
        self.rig
            .publish(World::of([spec("site.test", self.folder.path(), false)]));
    }
}

#[tokio::test]
async fn e6_a_folder_is_served_with_types_tags_and_lengths() {
    let site = site(&[
        ("index.html", b"<h1>front"),
        ("docs/index.html", b"<h1>docs"),
        ("app.3f2a9c1b.js", b"run()"),
        ("empty.txt", b""),
        ("a b/é.txt", b"accents"),
    ]);
    let front = site.get("/", &[]).await;
    assert_eq!((front.status, front.text()), (StatusCode::OK, "<h1>front"));
    assert_eq!(front.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(front.header("content-length"), "9");
    assert_eq!(front.header("cache-control"), "no-cache");
    assert_eq!(front.header("accept-ranges"), "bytes");
    assert_eq!(front.header("vary"), "");
    assert!(front.header("etag").starts_with('"') && front.header("etag").len() == 34);
    assert!(front.header("last-modified").ends_with(" GMT"));
    assert!(!front.header("x-request-id").is_empty());
    assert_eq!(site.get("/index.html?x=1", &[]).await.text(), "<h1>front");
    assert_eq!(site.get("/docs/", &[]).await.text(), "<h1>docs");
    assert_eq!(site.get("/a%20b/%C3%A9.txt", &[]).await.text(), "accents");
    let script = site.get("/app.3f2a9c1b.js", &[]).await;
    assert_eq!(script.header("cache-control"), IMMUTABLE);
    assert_eq!(
        script.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    let empty = site.get("/empty.txt", &[]).await;
    assert_eq!(
        (empty.status, empty.header("content-length")),
        (StatusCode::OK, "0")
    );
}

#[tokio::test]
async fn e6_a_folder_without_its_slash_is_sent_to_it_and_nowhere_else() {
    let site = site(&[
        ("docs/index.html", b"docs"),
        ("bare/a.txt", b"a"),
        ("evil.test/index.html", b"e"),
    ]);
    let sent = site.get("/docs?a=b&c", &[]).await;
    assert_eq!(sent.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(sent.header("location"), "/docs/?a=b&c");
    for path in [
        "/bare",
        "/bare/",
        "//evil.test",
        "/evil.test//",
        "///evil.test",
        "/docs/x",
    ] {
        let answer = site.get(path, &[]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.header("location"), "", "{path}");
    }
}

#[tokio::test]
async fn e6_a_folder_is_only_read() {
    let site = site(&[("index.html", b"front")]);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let answer = site.ask(method.parse().unwrap(), "/", &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), "GET, HEAD", "{method}");
    }
    let head = site.ask(Method::HEAD, "/", &[]).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (StatusCode::OK, "5")
    );
    assert!(head.body.is_empty() && !head.header("etag").is_empty());
}

#[tokio::test]
async fn e6_what_a_client_has_already_is_not_sent_again() {
    let site = site(&[("index.html", b"front")]);
    let first = site.get("/", &[]).await;
    let (etag, modified) = (first.header("etag"), first.header("last-modified"));
    let weak = format!("W/{etag}");
    for fields in [
        [("if-none-match", etag)],
        [("if-none-match", weak.as_str())],
        [("if-modified-since", modified)],
    ] {
        let answer = site.get("/", &fields).await;
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{fields:?}");
        assert!(answer.body.is_empty());
        assert_eq!(
            (answer.header("etag"), answer.header("cache-control")),
            (etag, "no-cache")
        );
        let head = site.ask(Method::HEAD, "/", &fields).await;
        assert_eq!(head.status, StatusCode::NOT_MODIFIED, "{fields:?}");
    }
    assert_eq!(
        site.get("/", &[("if-none-match", "\"other\"")])
            .await
            .text(),
        "front"
    );
    let failed = site.get("/", &[("if-match", "\"other\"")]).await;
    assert_eq!(failed.status, StatusCode::PRECONDITION_FAILED);
    // Another content has another tag.
    write(site.folder.path(), "index.html", b"other");
    site.read_again();
    let answer = site.get("/", &[("if-none-match", etag)]).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "other"));
}

#[tokio::test]
async fn e6_one_range_of_a_file_is_served() {
    let content: Vec<u8> = (0..100_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    let site = site(&[("video.mp4", &content)]);
    let etag = site.get("/video.mp4", &[]).await.header("etag").to_owned();
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=500-70000", 500, 70_000),
        ("bytes=99990-", 99_990, 99_999),
        ("bytes=-10", 99_990, 99_999),
        ("bytes=0-1000000", 0, 99_999),
    ] {
        let part = site
            .get("/video.mp4", &[("range", range), ("if-range", &etag)])
            .await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(
            part.header("content-range"),
            format!("bytes {first}-{last}/100000")
        );
        assert_eq!(
            part.header("content-length"),
            (last - first + 1).to_string()
        );
        assert_eq!(part.body, content[first..=last]);
    }
    let beyond = site.get("/video.mp4", &[("range", "bytes=100000-")]).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.header("content-range"), "bytes */100000");
    // The way Apache was once brought down, and others that ask for more than there is.
    let many = format!(
        "bytes=0-{}",
        (0..1_000).map(|at| format!(",5-{at}")).collect::<String>()
    );
    for range in [
        many.as_str(),
        "bytes=0-,0-,0-",
        "bytes=0-9,5-14",
        "bytes=9-0",
        "bytes=-",
        "x",
    ] {
        let whole = site.get("/video.mp4", &[("range", range)]).await;
        assert_eq!(whole.status, StatusCode::OK, "{range}");
        assert_eq!(whole.body.len(), content.len());
    }
    let other = site
        .get(
            "/video.mp4",
            &[("range", "bytes=0-0"), ("if-range", "\"old\"")],
        )
        .await;
    assert_eq!(
        (other.status, other.body.len()),
        (StatusCode::OK, content.len())
    );
}

#[tokio::test]
async fn e6_coded_files_that_lie_beside_are_served_to_those_who_take_them() {
    let site = site(&[
        ("app.js", b"plain"),
        ("app.js.br", b"brotli"),
        ("app.js.gz", b"gzip"),
        ("app.js.zst", b"zstd"),
        ("alone.js", b"alone"),
        ("stale.js", b"new"),
        ("stale.js.gz", b"old"),
    ]);
    let stale = fs::File::options()
        .write(true)
        .open(site.path("stale.js.gz"))
        .unwrap();
    stale
        .set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    site.read_again();
    let mut tags = Vec::new();
    for (takes, coding, body) in [
        ("", "", "plain"),
        ("identity", "", "plain"),
        ("gzip, br, zstd", "br", "brotli"),
        ("gzip, zstd", "zstd", "zstd"),
        ("gzip", "gzip", "gzip"),
        ("gzip;q=1, br;q=0.1", "gzip", "gzip"),
        ("gzip;q=0", "", "plain"),
        ("*", "br", "brotli"),
        ("identity;q=1, *;q=0.1", "", "plain"),
    ] {
        let answer = site.get("/app.js", &[("accept-encoding", takes)]).await;
        assert_eq!(
            (answer.header("content-encoding"), answer.text()),
            (coding, body),
            "{takes}"
        );
        assert_eq!(answer.header("vary"), "accept-encoding", "{takes}");
        assert_eq!(
            answer.header("content-type"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(answer.header("content-length"), body.len().to_string());
        let etag = answer.header("etag").to_owned();
        let again = site
            .get(
                "/app.js",
                &[("accept-encoding", takes), ("if-none-match", &etag)],
            )
            .await;
        assert_eq!(
            (again.status, again.header("vary")),
            (StatusCode::NOT_MODIFIED, "accept-encoding")
        );
        if !tags.contains(&etag) {
            tags.push(etag);
        }
    }
    assert_eq!(tags.len(), 4, "each coding has a tag of its own");
    let part = [("accept-encoding", "br"), ("range", "bytes=1-2")];
    assert_eq!(site.get("/app.js", &part).await.text(), "ro");
    for (path, body) in [("/alone.js", "alone"), ("/stale.js", "new")] {
        let answer = site.get(path, &[("accept-encoding", "gzip")]).await;
        assert_eq!((answer.header("vary"), answer.text()), ("", body));
    }
}

/// A file edited within the second in which it was coded is newer; what codes may give its file the other's date, or the
/// second of it.
#[tokio::test]
async fn e6_a_coded_file_is_as_old_as_its_dates_parts_of_a_second_say() {
    let site = site(&[
        ("edited.js", b"new"),
        ("edited.js.gz", b"old"),
        ("same.js", b"plain"),
        ("same.js.gz", b"coded"),
        ("second.js", b"plain"),
        ("second.js.gz", b"coded"),
    ]);
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (name, millis) in [
        ("edited.js", 500),
        ("edited.js.gz", 200),
        ("same.js", 500),
        ("same.js.gz", 500),
        ("second.js", 500),
        ("second.js.gz", 0),
    ] {
        let file = fs::File::options().write(true).open(site.path(name));
        let date = second + Duration::from_millis(millis);
        file.unwrap().set_modified(date).unwrap();
    }
    site.read_again();
    for (path, body) in [
        ("/edited.js", "new"),
        ("/same.js", "coded"),
        ("/second.js", "coded"),
    ] {
        let answer = site.get(path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(answer.text(), body, "{path}");
    }
}

#[tokio::test]
async fn e6_a_single_page_answers_navigations_and_nothing_else() {
    let site = site_at(
        "site.test",
        true,
        &[("index.html", b"app"), ("assets/a.js", b"a")],
    );
    let browser = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    for path in ["/", "/users/7", "/users/7/", "/a/b/c?d"] {
        let answer = site.get(path, &browser).await;
        assert_eq!(
            (answer.status, answer.text()),
            (StatusCode::OK, "app"),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), "no-cache");
    }
    for (path, fields) in [
        ("/users/7", &[("accept", "application/json")][..]),
        ("/users/7", &[("accept", "*/*")]),
        ("/users/7", &[]),
        ("/assets/gone.js", &browser),
        ("/x.php", &browser),
    ] {
        assert_eq!(
            site.get(path, fields).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    assert_eq!(
        site.ask(Method::POST, "/users/7", &browser).await.status,
        405
    );
}

#[tokio::test]
async fn e6_a_site_has_its_own_page_for_what_is_not_there() {
    let bare = site(&[("index.html", b"front")]);
    let answer = bare.get("/gone", &[("accept", "text/html")]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(
        answer.text().contains("There is no such page"),
        "{}",
        answer.text()
    );
    let own = site(&[("404.html", b"<h1>lost"), ("404.html.gz", b"coded")]);
    let answer = own
        .get("/gone", &[("if-none-match", "*"), ("range", "bytes=0-0")])
        .await;
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::NOT_FOUND, "<h1>lost")
    );
    assert_eq!(
        (answer.header("etag"), answer.header("cache-control")),
        ("", "no-cache")
    );
    let coded = own.get("/gone", &[("accept-encoding", "gzip")]).await;
    assert_eq!(
        (coded.status, coded.header("content-encoding")),
        (StatusCode::NOT_FOUND, "gzip")
    );
    assert_eq!(own.get("/404.html", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn e6_a_folder_at_a_path_begins_behind_it() {
    let site = site_at(
        "site.test/docs",
        false,
        &[("index.html", b"docs"), ("a/b.txt", b"b")],
    );
    assert_eq!(site.get("/docs", &[]).await.header("location"), "/docs/");
    assert_eq!(site.get("/docs/", &[]).await.text(), "docs");
    assert_eq!(site.get("/docs/a/b.txt", &[]).await.text(), "b");
    for path in ["/docs/docs/", "/a/b.txt", "/docsa/b.txt"] {
        assert_eq!(
            site.get(path, &[]).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

const LARGE: u64 = 32 * 1024 * 1024;

/// A file that is changed when its answer has begun; the client must not take what it got for the whole.
async fn changed_meanwhile(change: fn(&fs::File)) {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("large.bin")).unwrap();
    file.set_len(LARGE).unwrap();
    let rig = Rig::start(World::of([spec("site.test", folder.path(), false)]));
    for http2 in [false, true] {
        file.set_len(LARGE).unwrap();
        rig.publish(World::of([spec("site.test", folder.path(), false)]));
        let request = get("https://site.test/large.bin");
        let mut answer = match http2 {
            false => Http1::tls(&rig, "site.test")
                .await
                .send(request)
                .await
                .unwrap(),
            true => Http2::tls(&rig, "site.test")
                .await
                .send(request)
                .await
                .unwrap(),
        };
        assert_eq!(answer.status(), StatusCode::OK);
        let first = answer.body_mut().frame().await.unwrap().unwrap();
        change(&file);
        let mut got = first.data_ref().unwrap().len() as u64;
        let reading = async {
            while let Some(frame) = answer.body_mut().frame().await {
                match frame {
                    Ok(frame) => got += frame.data_ref().map_or(0, |data| data.len() as u64),
                    Err(_) => return true,
                }
            }
            false
        };
        let broke = within(Duration::from_secs(60), "the end", reading).await;
        assert!(
            broke && got < LARGE,
            "http2 {http2}: {got} bytes, broke off: {broke}"
        );
    }
    until("both are counted as failures", || {
        rig.route_reading("site.test").failures == 2
    })
    .await;
}

#[tokio::test]
async fn e6_a_file_that_shrinks_breaks_its_answer_off() {
    changed_meanwhile(|file| file.set_len(LARGE / 2).unwrap()).await;
}

#[tokio::test]
async fn e6_a_file_that_is_written_to_breaks_its_answer_off() {
    changed_meanwhile(|file| {
        use std::os::unix::fs::FileExt;
        file.write_all_at(b"other", 0).unwrap();
    })
    .await;
}

#[tokio::test]
async fn e6_files_are_served_whole_from_memory_and_from_disk_and_counted() {
    let content: Vec<u8> = (0..1_000_003_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let site = site(&[("data.bin", &content)]);
    let file = fs::File::open(site.path("data.bin")).unwrap();
    for _ in 0..3 {
        file.sync_all().unwrap();
        // Out of the kernel's memory, where the file system knows how.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let answer = site.get("/data.bin", &[]).await;
        assert!(answer.body == content);
    }
    until("six answers are counted", || {
        let reading = site.rig.route_reading("site.test");
        reading.requests == 6
            && reading.classes[1] == 6
            && reading.failures == 0
            && reading.bytes_out == 6 * content.len() as u64
    })
    .await;
}

#[tokio::test]
async fn e6_a_folder_has_limits_and_is_read_again_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let missing = StaticSite::read(&folder.path().join("missing"), false, None).unwrap_err();
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
    write(folder.path(), "a.txt", b"a");
    let first = StaticSite::read(folder.path(), false, None).unwrap();
    let second = StaticSite::read(folder.path(), false, Some(&first)).unwrap();
    assert!(second.is_same(&first));
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    write(folder.path(), "a.txt", b"b");
    symlink("a.txt", folder.path().join("b.txt")).unwrap();
    let third = StaticSite::read(folder.path(), false, Some(&second)).unwrap();
    assert!(!third.is_same(&second) && format!("{third:?}") != format!("{second:?}"));
    assert_eq!((third.files(), third.left_out()), (1, 1));
    let deep = folder.path().join(vec!["d"; 40].join("/"));
    fs::create_dir_all(deep).unwrap();
    let refused = StaticSite::read(folder.path(), false, None).unwrap_err();
    assert!(refused.to_string().contains("deep"), "{refused}");
    let wide = tempfile::tempdir().unwrap();
    for at in 0..=20_000 {
        fs::File::create(wide.path().join(at.to_string())).unwrap();
    }
    let refused = StaticSite::read(wide.path(), false, None).unwrap_err();
    assert!(refused.to_string().contains("20000"), "{refused}");
}
