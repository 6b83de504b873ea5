//! Attacks on folders of files: paths that lead out, what is hidden or linked, what takes the place of a file later.
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use http::StatusCode;

use crate::client::{Http1, bytes, get};
use crate::rig::{Rig, World, within};
use crate::static_site::{IMMUTABLE, site, spec, write};

/// The saboteur: a site whose folder is the one around it shows the secret to the same question.
#[tokio::test]
async fn e6_no_path_leads_out_of_a_folder_or_to_what_is_hidden_in_it() {
    let outer = tempfile::tempdir().unwrap();
    write(outer.path(), "secret", b"SECRET");
    let folder = outer.path().join("www");
    for (name, content) in [
        ("index.html", &b"front"[..]),
        (".env", b"SECRET"),
        (".git/config", b"SECRET"),
        ("a/.htpasswd", b"SECRET"),
        ("a/.well-known/x", b"SECRET"),
        (".well-known/security.txt", b"public"),
        ("back\\slash", b"named so"),
    ] {
        write(&folder, name, content);
    }
    symlink("../secret", folder.join("relative")).unwrap();
    symlink(outer.path().join("secret"), folder.join("absolute")).unwrap();
    symlink("..", folder.join("up")).unwrap();
    symlink("index.html", folder.join("inside")).unwrap();
    let rig = Rig::start(World::of([spec("site.test", &folder, false)]));
    let around = Rig::start(World::of([spec("site.test", outer.path(), false)]));
    let head = "GET /secret HTTP/1.1\r\nhost: site.test\r\nconnection: close\r\n\r\n";
    assert!(bytes(&around, "site.test", head).await.contains("SECRET"));
    let ask = async |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: site.test\r\nconnection: close\r\n\r\n");
        let answer = bytes(&rig, "site.test", head).await;
        assert!(
            !answer.contains("SECRET") && !answer.contains("root:"),
            "{path}: {answer}"
        );
        answer
            .split(' ')
            .nth(1)
            .map(str::to_owned)
            .unwrap_or_default()
    };
    for path in [
        "/../secret",
        "/a/../../secret",
        "/%2e%2e/secret",
        "/.%2e/secret",
        "/..%2fsecret",
        "/..%2Fsecret",
        "/%2e%2e%2fsecret",
        "/a/%2e%2e/%2e%2e/secret",
        "/../../../../../../etc/passwd",
        "/..%00/secret",
        "/index.html%00.txt",
        "/%00",
        "/%",
        "/%zz",
        "/%2",
        "/%c0%ae%c0%ae/secret",
        "/%ff",
        "/./index.html",
        "/a/..",
        "/%2fetc%2fpasswd",
    ] {
        assert_eq!(ask(path).await, "400", "{path}");
    }
    for path in [
        "//etc/passwd",
        "/..;/secret",
        "/..\\secret",
        "/..%5csecret",
        "/%252e%252e/secret",
        "/.../secret",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git/",
        "/a/.htpasswd",
        "/a/.well-known/x",
        "/relative",
        "/absolute",
        "/up/secret",
        "/up/www/index.html",
        "/inside",
        "/index.html/",
        "/index.html/x",
        "/a",
        "/a/",
        "/etc/passwd",
    ] {
        assert_eq!(ask(path).await, "404", "{path}");
    }
    for path in [
        "/",
        "/.well-known/security.txt",
        "/back%5Cslash",
        "/back\\slash",
    ] {
        assert_eq!(ask(path).await, "200", "{path}");
    }
}

#[tokio::test]
async fn e6_what_takes_the_place_of_a_file_later_is_not_followed() {
    let site = site(&[
        ("link.txt", b"fine"),
        ("pipe.txt", b"fine"),
        ("folder.txt", b"fine"),
        ("gone.txt", b"fine"),
        ("sub/passwd", b"fine"),
        ("edited.3f2a9c1b.txt", b"fine"),
        ("edited.3f2a9c1b.txt.gz", b"coded"),
    ]);
    for name in ["link.txt", "pipe.txt", "folder.txt", "gone.txt"] {
        assert_eq!(site.get(&format!("/{name}"), &[]).await.text(), "fine");
        fs::remove_file(site.path(name)).unwrap();
    }
    symlink("/etc/passwd", site.path("link.txt")).unwrap();
    let pipe = site.path("pipe.txt");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    fs::create_dir(site.path("folder.txt")).unwrap();
    fs::remove_dir_all(site.path("sub")).unwrap();
    symlink("/etc", site.path("sub")).unwrap();
    for path in [
        "/link.txt",
        "/pipe.txt",
        "/folder.txt",
        "/gone.txt",
        "/sub/passwd",
    ] {
        let answer = within(Duration::from_secs(60), path, site.get(path, &[])).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.text().contains("root:"));
    }
    // Another content: as it is, and with nothing of the old one's.
    let name = "edited.3f2a9c1b.txt";
    write(site.folder.path(), name, b"another content");
    let fields = [("range", "bytes=0-0"), ("if-none-match", "\"x\"")];
    let answer = site.get(&format!("/{name}"), &fields).await;
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::OK, "another content")
    );
    assert_eq!(
        (answer.header("etag"), answer.header("cache-control")),
        ("", "no-store")
    );
    site.read_again();
    let answer = site.get(&format!("/{name}"), &[]).await;
    assert_eq!(
        (answer.header("cache-control"), answer.text()),
        (IMMUTABLE, "another content")
    );
}

#[tokio::test]
async fn e6_a_device_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zero", b"");
    let made = || {
        fs::remove_file(folder.path().join("zero")).unwrap();
        let zero = rustix::fs::makedev(1, 5);
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, 0o666.into());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("zero"),
            kind,
            mode,
            zero,
        )
    };
    let rig = Rig::start(World::of([spec("site.test", folder.path(), false)]));
    if made().is_err() {
        // Only root makes devices.
        return;
    }
    let ask = async || {
        let mut client = Http1::tls(&rig, "site.test").await;
        client
            .ask(get("https://site.test/zero"))
            .await
            .unwrap()
            .status
    };
    assert_eq!(ask().await, StatusCode::NOT_FOUND);
    rig.publish(World::of([spec("site.test", folder.path(), false)]));
    assert_eq!(ask().await, StatusCode::NOT_FOUND);
}
