//! F2: every URL of the table, walked as nobody and as somebody who forges.
//!
//! The daemon is the real one, without an engine: what is denied must be denied
//! whatever else works.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use freehold::web::{Needs, table};

#[path = "support/quiet.rs"]
mod quiet;

use quiet::Daemon;

/// One request; the status and the whole answer.
fn ask(socket: &Path, method: &str, path: &str, more: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\nContent-Length: 0\r\n{more}\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    (status, text)
}

/// Each `{name}` of a path filled in with something that could exist.
fn concrete(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "1" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[test]
fn f2_every_url_is_denied_to_nobody_unless_the_table_says_otherwise() {
    let daemon = Daemon::start();
    let edge = daemon.socket("edge.sock");
    for route in table() {
        let path = concrete(route.path);
        let method = route.method.as_str();
        for more in [
            "",
            "Cookie: __Host-freehold=forged\r\nSec-Fetch-Site: same-origin\r\n",
        ] {
            let (status, text) = ask(&edge, method, &path, more);
            match route.needs {
                Needs::Owner | Needs::Local => {
                    assert_eq!(status, 401, "{method} {path} as nobody: {text}");
                }
                Needs::Nobody | Needs::Proof => {
                    assert!(status != 0 && status != 403, "{method} {path}: {text}");
                }
            }
        }
    }
    let (status, _) = ask(&edge, "GET", "/api/v1/no-such-thing", "");
    assert_eq!(status, 401, "unknown URLs tell strangers nothing");
}

#[test]
fn f2_the_box_comes_in_by_its_socket_and_sets_the_owner_up() {
    let daemon = Daemon::start();
    let (local, edge) = (daemon.socket("freehold.sock"), daemon.socket("edge.sock"));
    let (status, text) = ask(&local, "POST", "/api/v1/setup-link", "");
    assert_eq!(status, 200, "{text}");
    let path = text
        .split("/setup/")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let (status, page) = ask(
        &edge,
        "GET",
        &format!("/setup/{path}"),
        "Accept: text/html\r\n",
    );
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    let (status, _) = ask(&edge, "GET", "/setup/forged", "Accept: text/html\r\n");
    assert_eq!(status, 404);
}

#[test]
fn f2_another_site_changes_nothing() {
    let daemon = Daemon::start();
    let edge = daemon.socket("edge.sock");
    for more in [
        "Origin: https://evil.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Cookie: __Host-freehold=x\r\n",
    ] {
        let (status, text) = ask(&edge, "POST", "/sign-in", more);
        assert_eq!(status, 403, "{more}: {text}");
    }
}
