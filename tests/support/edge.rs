//! Requests to a box as any client makes them: curl, certificates verified,
//! every name resolved to the box's address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Where the box is and what its clients trust.
#[derive(Clone)]
pub struct Edge {
    pub address: Ipv4Addr,
    /// PEM bundle of the roots that are trusted, and no others.
    pub roots: PathBuf,
}

/// A request; `send` it.
pub struct Request {
    command: Command,
    url: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// `1.1` or `2`.
    pub version: String,
    pub headers: BTreeMap<String, Vec<String>>,
    pub body: Vec<u8>,
    pub took: Duration,
}

impl Edge {
    pub fn get(&self, url: &str) -> Request {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--include", "--max-time", "60"])
            .args([
                "--suppress-connect-headers",
                "--path-as-is",
                "--noproxy",
                "*",
            ])
            .arg("--cacert")
            .arg(&self.roots)
            .args(["--connect-to", &format!(":443:{}:443", self.address)])
            .args(["--connect-to", &format!(":80:{}:80", self.address)])
            .args(["--write-out", "\n%{http_version} %{time_total}"]);
        Request {
            command,
            url: url.to_owned(),
        }
    }

    /// The text of a page that must be there.
    pub fn page(&self, url: &str) -> String {
        let answer = self.get(url).send().unwrap();
        assert_eq!(answer.status, 200, "GET {url}: {}", answer.text());
        answer.text()
    }
}

impl Request {
    pub fn method(mut self, method: &str) -> Self {
        self.command.args(["--request", method]);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.command.args(["--header", &format!("{name}: {value}")]);
        self
    }

    pub fn body(mut self, content_type: &str, body: &str) -> Self {
        self.command
            .args(["--header", &format!("Content-Type: {content_type}")])
            .args(["--data-raw", body]);
        self
    }

    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body("application/json", &body.to_string())
    }

    pub fn http1(mut self) -> Self {
        self.command.arg("--http1.1");
        self
    }

    pub fn http2(mut self) -> Self {
        self.command.arg("--http2");
        self
    }

    /// Any other curl option.
    pub fn option(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// The answer, or curl's sentence about why there is none.
    pub fn send(mut self) -> Result<Answer, String> {
        let out = self.command.arg(&self.url).output().unwrap();
        if !out.status.success() {
            let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            return Err(format!("{}: {why}", self.url));
        }
        Ok(parse(&out.stdout))
    }
}

fn parse(out: &[u8]) -> Answer {
    let last = out.iter().rposition(|b| *b == b'\n').unwrap();
    let footer = String::from_utf8_lossy(&out[last + 1..]).into_owned();
    let (version, took) = footer.split_once(' ').unwrap();
    let mut rest = &out[..last];
    loop {
        let end = rest.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let status: u16 = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in lines.filter_map(|l| l.split_once(':')) {
            let name = name.to_ascii_lowercase();
            headers
                .entry(name)
                .or_default()
                .push(value.trim().to_owned());
        }
        return Answer {
            status,
            version: version.to_owned(),
            headers,
            body: rest.to_vec(),
            took: Duration::from_secs_f64(took.trim().parse().unwrap()),
        };
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}), {}: {}", self.status, self.text()))
    }

    /// The first header of that name (lower case), or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |values| &values[0])
    }
}
