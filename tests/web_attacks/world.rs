//! The box under attack: its dashboard at panel.internal, an app, an owner; and the attacker's own sites, one of them a
//! sibling of the panel, which cookies take for the same site.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::address::own_address;
use crate::support::browser::{Browser, Settings};
use crate::{forms, quiet::Daemon};

pub const PANEL: &str = "https://panel.internal";
/// Another site.
pub const EVIL: &str = "https://evil.internal";
/// Another origin of the panel's own site, as an app on a subdomain is.
pub const SIBLING: &str = "https://evil.panel.internal";
pub const PASSWORD: &str = "four words are enough";

pub struct World {
    pub daemon: Daemon,
    pub address: Ipv4Addr,
    /// The owner's session.
    pub session: String,
    /// The page that the attacker's sites answer with, whatever is asked.
    evil: mpsc::Sender<String>,
}

/// An answer as it came.
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n").unwrap_or((&self.text, ""));
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn body(&self) -> &str {
        self.text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
    }
}

impl World {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With these settings besides.
    pub fn with(settings: &str) -> Self {
        let address = own_address();
        let (evil, port) = evil_site();
        let route = |host: &str| {
            format!(
                "[[route]]\nhost = \"{host}\"\nupstream = \"http://127.0.0.1:{port}\"\ntls = \"internal\"\n"
            )
        };
        let mut more = format!(
            "[dashboard]\nhost = \"panel.internal\"\n{}{}",
            route("evil.internal"),
            route("evil.panel.internal")
        );
        // The walks ask more than one caller may in a minute; tests/api_behaviour has that limit.
        more.push_str("[limits]\napi_reads = 1000000\napi_changes = 1000000\n");
        more.push_str(settings);
        let daemon = Daemon::start_with(&format!("{address}:443"), &more);
        let mut world = Self {
            daemon,
            address,
            session: String::new(),
            evil,
        };
        let made = world.local("POST", "/api/v1/apps", "{\"name\":\"shop\"}");
        assert_eq!(made.status, 201, "{}", made.text);
        world.session = world.new_session();
        world
    }

    /// The owner sets the password anew.
    pub fn new_session(&self) -> String {
        self.take(&self.setup_path())
    }

    /// Opens a one-time link and sets a password; the session.
    pub fn take(&self, link: &str) -> String {
        let page = self.edge("GET", link, &[], "");
        let token = forms::token(&page.text);
        let visitor = forms::cookie(&page.text, forms::VISITOR).unwrap();
        let cookie = format!("Cookie: {}={visitor}", forms::VISITOR);
        let words = PASSWORD.replace(' ', "+");
        let form = format!("form-token={token}&password={words}&again={words}");
        let answer = self.edge("POST", link, &[FORM, &cookie, SAME_ORIGIN], &form);
        assert_eq!(answer.status, 303, "{}", answer.text);
        forms::cookie(&answer.text, "__Host-freehold")
            .unwrap()
            .to_owned()
    }

    pub fn setup_path(&self) -> String {
        let link = self.local("POST", "/api/v1/setup-link", "");
        let (_, rest) = link.text.split_once("/setup/").unwrap();
        format!("/setup/{}", rest.split('"').next().unwrap())
    }

    pub fn local(&self, method: &str, path: &str, body: &str) -> Answer {
        let json = "Content-Type: application/json";
        ask(
            self.daemon.socket("freehold.sock"),
            method,
            path,
            &[json],
            body,
        )
    }

    /// As the edge hands a request on.
    pub fn edge(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut all = vec!["X-Real-IP: 203.0.113.9", "X-Forwarded-Host: panel.internal"];
        all.extend(headers);
        ask(self.daemon.socket("edge.sock"), method, path, &all, body)
    }

    pub fn cookie(&self) -> String {
        format!("Cookie: __Host-freehold={}", self.session)
    }

    /// What the forms of the owner's pages carry.
    pub fn token(&self) -> String {
        let page = self.edge("GET", "/account", &[&self.cookie()], "");
        forms::token(&page.text).to_owned()
    }

    /// Everything that a forged request could have changed.
    pub fn state(&self) -> String {
        let lists = [
            "apps",
            "apps/shop",
            "users",
            "tokens",
            "checks",
            "targets",
            "databases",
        ];
        let told = lists.map(|list| {
            let answer = self.local("GET", &format!("/api/v1/{list}"), "");
            assert_eq!(answer.status, 200, "{list}: {}", answer.text);
            without_times(answer.body())
        });
        told.join("\n")
    }

    /// What both of the attacker's sites answer with from now on.
    pub fn evil_page(&self, html: impl Into<String>) {
        self.evil.send(html.into()).unwrap();
    }

    pub fn browser(&self) -> Browser {
        let root = self.daemon.data().with_file_name("run").join("root.pem");
        Browser::open(&Settings::new(self.address, &[&root]))
    }

    /// A browser in which the owner is signed in.
    pub fn owner(&self) -> Browser {
        let browser = self.browser();
        browser.go(&format!("{PANEL}{}", self.setup_path()));
        for name in ["password", "again"] {
            browser.type_into(&format!("input[name={name}]"), PASSWORD);
        }
        browser.click_away("form[action^=\"/setup/\"] button");
        browser.arrives(&format!("{PANEL}/"));
        browser
    }
}

pub const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
pub const SAME_ORIGIN: &str = "Sec-Fetch-Site: same-origin";

/// When somebody was last seen is not what an attacker is after.
fn without_times(json: &str) -> String {
    let mut json: serde_json::Value = serde_json::from_str(json).unwrap();
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.retain(|key, _| !key.ends_with("_ms"));
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut json);
    json.to_string()
}

/// One request; the answer as far as it comes within a moment.
pub fn ask(socket: PathBuf, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|h| h.starts_with("Host:")) {
        head.push_str("Host: panel.internal\r\n");
    }
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    raw(socket, head.as_bytes())
}

/// Bytes as they are, and what comes back.
pub fn raw(socket: PathBuf, bytes: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    // Who refuses early need not read to the end.
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let wait = match is_to_come(&answer) {
            true => Duration::from_secs(20),
            false => Duration::from_millis(500),
        };
        stream.set_read_timeout(Some(wait)).unwrap();
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    Answer {
        status: text
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0),
        text,
    }
}

/// Whether the head is not there yet, or less of the body than its length says: a busy machine takes its time between two
/// pieces of one answer.
pub fn is_to_come(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
        return true;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| answer.len() - end - 4 < length)
}

/// A web server of the attacker's: it answers everything with the newest page it was given.
fn evil_site() -> (mpsc::Sender<String>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, pages) = mpsc::channel::<String>();
    std::thread::spawn(move || {
        let mut page = String::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            while let Ok(newer) = pages.try_recv() {
                page = newer;
            }
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
                page.len()
            )
            .ok();
        }
    });
    (sender, port)
}
