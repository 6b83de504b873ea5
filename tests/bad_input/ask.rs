//! One request to one of the daemon's own sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The first header of that name, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let found = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        found.unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}), {}: {}", self.status, self.body))
    }
}

/// Asks with these header lines and this body; HTTP/1.0, so that the answer ends with the connection.
pub fn ask(socket: &Path, method: &str, path: &str, headers: &[String], body: &[u8]) -> Answer {
    heard(begin(socket, method, path, headers, (body, body.len())))
}

/// Asks, and sends of a body of `length` bytes only these.
pub fn begin(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[String],
    (body, length): (&[u8], usize),
) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut head =
        format!("{method} {path} HTTP/1.0\r\nHost: panel.test\r\nContent-Length: {length}\r\n");
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // Who refuses early need not read to the end.
    stream.write_all(body).ok();
    stream
}

/// The answer, to its end.
pub fn heard(mut stream: UnixStream) -> Answer {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Answer {
        status: head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
