//! Requests to the API of a daemon, and their answers whole.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::quiet::Daemon;

pub struct Answer {
    pub status: u16,
    #[allow(dead_code)]
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    #[allow(dead_code)]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|l| l.split_once(": "));
        lines
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }
}

pub fn ask(socket: &Path, method: &str, path: &str, more: &str, body: &str) -> Answer {
    send(socket, method, path, (more, "application/json"), body)
}

fn send(socket: &Path, method: &str, path: &str, (more, kind): (&str, &str), body: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(90)))
        .unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Answer {
        status,
        head: head.to_owned(),
        body,
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}

pub fn local(daemon: &Daemon, method: &str, path: &str, more: &str, body: &str) -> Answer {
    ask(&daemon.socket("freehold.sock"), method, path, more, body)
}

#[allow(dead_code)]
pub fn make_app(daemon: &Daemon, name: &str) {
    let made = local(
        daemon,
        "POST",
        "/api/v1/apps",
        "",
        &json!({ "name": name }).to_string(),
    );
    assert_eq!(made.status, 201, "{}", made.body);
}

/// A form of the dashboard, sent as the box's own.
#[allow(dead_code)]
pub fn form(daemon: &Daemon, path: &str, body: &str) -> Answer {
    let kind = "application/x-www-form-urlencoded";
    send(
        &daemon.socket("freehold.sock"),
        "POST",
        path,
        ("", kind),
        body,
    )
}
