//! What caches and clients are told of a folder's files: dates, tags, whom an answer is for, and what a record of the
//! folder spares.
use std::fs::{self, File};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use freehold::base::policies::VerifierKey;
use freehold::proxy::{Policies, RouteSpec, StaticSite};
use http::StatusCode;

use crate::static_site::{IMMUTABLE, Site, site, site_at, spec, write};

const HASHED: &str = "app.3f2a9c1b.js";

fn dated(site: &Site, name: &str, seconds: u64) {
    let file = File::options().write(true).open(site.path(name)).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
        .unwrap();
}

#[tokio::test]
async fn e6_after_a_rollback_a_client_s_newer_file_is_not_taken_for_ours() {
    let site = site(&[("index.html", b"old")]);
    dated(&site, "index.html", 784_111_777);
    site.read_again();
    for (since, status) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", StatusCode::NOT_MODIFIED),
        ("Sun, 06 Nov 1994 08:49:38 GMT", StatusCode::OK),
        ("Sun, 06 Nov 1994 08:49:36 GMT", StatusCode::OK),
    ] {
        let answer = site.get("/", &[("if-modified-since", since)]).await;
        assert_eq!(answer.status, status, "{since}");
    }
}

#[tokio::test]
async fn e6_no_shared_cache_keeps_what_not_everybody_gets() {
    let site = site(&[("index.html", b"front"), (HASHED, b"run()")]);
    let policed = |text: &str| {
        let read = toml::from_str(text).unwrap();
        site.rig.publish(crate::rig::World::of([RouteSpec {
            policies: Arc::new(Policies::compile(&read, &VerifierKey::new(b"a box's own"))),
            ..spec("site.test", site.folder.path(), false)
        }]));
    };
    let hashed = format!("/{HASHED}");
    for (policies, kept, asked_for) in [
        ("", IMMUTABLE, "no-cache"),
        (
            "basic_auth.users = [{ name = \"ana\", password = \"hunter2\" }]",
            "private, max-age=31536000, immutable",
            "private, no-cache",
        ),
        (
            "allow = [\"127.0.0.0/8\", \"::1\"]",
            "private, max-age=31536000, immutable",
            "private, no-cache",
        ),
    ] {
        policed(policies);
        // ana:hunter2
        let ana = [("authorization", "Basic YW5hOmh1bnRlcjI=")];
        let (script, front) = (site.get(&hashed, &ana).await, site.get("/", &ana).await);
        assert_eq!((script.text(), front.text()), ("run()", "front"));
        assert_eq!(script.header("cache-control"), kept, "{policies}");
        assert_eq!(front.header("cache-control"), asked_for, "{policies}");
    }
}

#[tokio::test]
async fn e6_caches_learn_that_a_single_page_hangs_on_what_is_accepted() {
    let files = [("index.html", &b"app"[..]), ("a.js", b"a")];
    let single = site_at("site.test", true, &files);
    let page = [("accept", "text/html")];
    let data = [("accept", "application/json")];
    let found = single.get("/users/7", &page).await;
    let none = single.get("/users/7", &data).await;
    assert_eq!(
        (found.status, none.status),
        (StatusCode::OK, StatusCode::NOT_FOUND)
    );
    assert_eq!(
        (found.header("vary"), none.header("vary")),
        ("accept", "accept")
    );
    let etag = found.header("etag");
    let again = [page[0], ("if-none-match", etag)];
    let again = single.get("/users/7", &again).await;
    assert_eq!(
        (again.status, again.header("vary")),
        (StatusCode::NOT_MODIFIED, "accept")
    );
    // What is the same for everybody does not say so.
    for path in ["/", "/a.js"] {
        assert_eq!(single.get(path, &page).await.header("vary"), "", "{path}");
    }
    let plain = site(&files);
    assert_eq!(plain.get("/users/7", &page).await.header("vary"), "");
}

#[tokio::test]
async fn e6_a_large_file_s_tag_is_known_without_reading_it() {
    let site = site(&[("small.txt", b"small")]);
    // 64 GiB of nothing: its hash would take minutes.
    let large = File::create(site.path("large.bin")).unwrap();
    large.set_len(64 << 30).unwrap();
    let begun = Instant::now();
    site.read_again();
    assert!(begun.elapsed() < Duration::from_secs(10));
    let part = [("range", "bytes=0-9")];
    let first = site.get("/large.bin", &part).await;
    assert_eq!(first.status, StatusCode::PARTIAL_CONTENT);
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.len() == 34, "{etag}");
    let known = [("if-none-match", etag.as_str())];
    assert_eq!(
        site.get("/large.bin", &known).await.status,
        StatusCode::NOT_MODIFIED
    );
    let same = [part[0], ("if-range", etag.as_str())];
    assert_eq!(
        site.get("/large.bin", &same).await.status,
        StatusCode::PARTIAL_CONTENT
    );
    large
        .set_modified(SystemTime::now() + Duration::from_secs(1))
        .unwrap();
    site.read_again();
    let other = site.get("/large.bin", &part).await;
    assert_ne!(other.header("etag"), etag);
}

#[test]
fn e6_a_recorded_folder_is_served_without_reading_its_files() {
    let at = tempfile::tempdir().unwrap();
    let (folder, record) = (at.path().join("12"), at.path().join("12.manifest"));
    write(&folder, "index.html", b"front");
    write(&folder, "a/b.js", &vec![b'a'; 2 << 20]);
    let laid = StaticSite::record(&folder, false, &record).unwrap();
    let same = StaticSite::read_recorded(&folder, false, &record).unwrap();
    assert!(
        laid.is_same(&same),
        "large files are known by their content"
    );
    same.check_whole(&record).unwrap();
    // The same length and date, another content: what is recorded counts, so nothing was read.
    let modified = fs::metadata(folder.join("index.html"))
        .unwrap()
        .modified()
        .unwrap();
    fs::write(folder.join("index.html"), "other").unwrap();
    let file = File::options()
        .write(true)
        .open(folder.join("index.html"))
        .unwrap();
    file.set_modified(modified).unwrap();
    assert!(laid.is_same(&StaticSite::read_recorded(&folder, false, &record).unwrap()));
    // Another date: read anew.
    file.set_modified(UNIX_EPOCH).unwrap();
    let changed = StaticSite::read_recorded(&folder, false, &record).unwrap();
    assert!(!laid.is_same(&changed));
    // A damaged record is none.
    fs::write(&record, "{").unwrap();
    assert_eq!(
        StaticSite::read_recorded(&folder, false, &record)
            .unwrap()
            .files(),
        2
    );
}

#[test]
fn e6_a_folder_that_lost_files_is_not_whole() {
    let at = tempfile::tempdir().unwrap();
    let (folder, record) = (at.path().join("12"), at.path().join("12.manifest"));
    for name in ["index.html", "a.js", "b.js"] {
        write(&folder, name, b"text");
    }
    StaticSite::record(&folder, false, &record).unwrap();
    let said = || {
        let site = StaticSite::read_recorded(&folder, false, &record).unwrap();
        site.check_whole(&record).map_err(|e| e.to_string())
    };
    assert_eq!(said(), Ok(()));
    fs::remove_file(folder.join("a.js")).unwrap();
    let one = said().unwrap_err();
    assert!(
        one.contains("1 of its 3 files") && one.ends_with("Deploy the site anew"),
        "{one}"
    );
    write(&folder, "b.js", b"cut");
    assert!(said().unwrap_err().contains("2 of its 3 files"));
    // Without a record it is at least not empty.
    fs::remove_file(&record).unwrap();
    assert_eq!(said(), Ok(()));
    for name in ["index.html", "b.js"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    assert!(said().is_err());
}
