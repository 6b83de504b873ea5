//! A box without an engine, with two apps, and somebody of every role who knocks at it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use freehold::base::clock::UnixMs;
use freehold::users::{Grant, Role, Verb};
use freehold::web::Caller;

use super::forms;
use super::quiet::Daemon;

/// One request; the status and the answer, as far as it comes within a moment (streams never end).
pub fn ask(socket: &Path, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: panel.test\r\nX-Request-Id: one\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        // Generous for the head and what it says is to come; a stream's body is not waited for.
        let wait = match is_to_come(&answer) {
            true => Duration::from_secs(20),
            false => Duration::from_millis(300),
        };
        stream.set_read_timeout(Some(wait)).unwrap();
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    (status, text)
}

/// Whether the head is not there yet, or less of the body than its length says: a busy machine takes its time between two
/// pieces of one answer.
fn is_to_come(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
        return true;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| answer.len() - end - 4 < length)
}

/// `{app}` filled in with `app`, each other `{name}` with something that could exist.
pub fn concrete(path: &str, app: &str) -> String {
    path.split('/')
        .map(|part| match part {
            "{app}" => app,
            _ if part.starts_with('{') => "1",
            _ => part,
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// The box with the apps shop and blog, and somebody of every role.
pub struct World {
    pub daemon: Daemon,
}

/// Somebody with a session.
pub struct Somebody {
    pub what: &'static str,
    pub caller: Caller,
    pub headers: String,
}

impl World {
    pub fn new() -> Self {
        let world = Self {
            daemon: Daemon::start(),
        };
        for app in ["shop", "blog"] {
            let (status, text) =
                world.local("POST", "/api/v1/apps", &format!("{{\"name\":\"{app}\"}}"));
            assert_eq!(status, 201, "{text}");
        }
        world
    }

    pub fn local(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let json = "Content-Type: application/json\r\n";
        ask(
            &self.daemon.socket("freehold.sock"),
            method,
            path,
            json,
            body,
        )
    }

    pub fn edge(&self, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
        ask(&self.daemon.socket("edge.sock"), method, path, more, body)
    }

    /// Takes the link in `answer`; the cookie.
    pub fn come_in(&self, answer: &str) -> String {
        let (_, rest) = answer.split_once("/setup/").unwrap();
        let (token, _) = rest.split_once('"').unwrap();
        let form = format!(
            "Content-Type: application/x-www-form-urlencoded\r\n{}",
            self.stranger("")
        );
        let words = "password=four+words+are+enough&again=four+words+are+enough";
        let (status, text) = self.edge("POST", &format!("/setup/{token}"), &form, words);
        assert_eq!(status, 303, "{text}");
        forms::cookie(&text, "__Host-freehold").unwrap().to_owned()
    }

    /// The headers of a browser nobody is signed in with, which has opened a page; `session` is a session's cookie
    /// that is none.
    pub fn stranger(&self, session: &str) -> String {
        let (_, page) = self.edge("GET", "/sign-in", "Accept: text/html\r\n", "");
        format!(
            "Cookie: __Host-freehold={session}; {}={}\r\nSec-Fetch-Site: same-origin\r\nX-Form-Token: {}\r\n",
            forms::VISITOR,
            forms::cookie(&page, forms::VISITOR).unwrap(),
            forms::token(&page)
        )
    }

    /// The headers of a browser with this session, which has opened a page.
    pub fn signed_in(&self, session: &str) -> String {
        let cookie = signed_in(session);
        let (_, page) = self.edge("GET", "/account", &cookie, "");
        format!("{cookie}X-Form-Token: {}\r\n", forms::token(&page))
    }

    pub fn somebody(&self, what: &'static str, role: Role, apps: &[&str]) -> Somebody {
        let name = what.replace(' ', ".");
        let list = serde_json::json!({ "name": name, "role": role.as_str(), "apps": apps });
        let (status, text) = self.local("POST", "/api/v1/users", &list.to_string());
        assert_eq!(status, 201, "{text}");
        let token = self.come_in(&text);
        Somebody {
            what,
            headers: self.signed_in(&token),
            caller: Caller::User {
                id: 0,
                name,
                grant: Grant {
                    role,
                    apps: apps.iter().map(|a| (*a).to_owned()).collect(),
                    verb: Verb::Change,
                },
                token,
                confirmed: UnixMs::now(),
            },
        }
    }

    /// Every session's password was given long ago.
    pub fn let_confirmations_age(&self) {
        let state = rusqlite::Connection::open(self.daemon.data().join("state.db")).unwrap();
        state.busy_timeout(Duration::from_secs(5)).unwrap();
        state
            .execute("UPDATE sessions SET confirmed_ms = 0", [])
            .unwrap();
    }
}

impl World {
    /// A program with a token of the box's own.
    pub fn program(&self, what: &'static str, verb: Verb, apps: Option<&[&str]>) -> Somebody {
        let new = serde_json::json!({ "name": what, "verb": verb.as_str(), "apps": apps });
        let (status, text) = self.local("POST", "/api/v1/tokens", &new.to_string());
        assert_eq!(status, 201, "{text}");
        let named = apps.map(|apps| apps.iter().map(|a| (*a).to_owned()).collect());
        Somebody {
            what,
            headers: bearer(token_in(&text)),
            caller: Caller::Program {
                id: 0,
                name: what.to_owned(),
                user: None,
                grant: Grant::everything().narrowed(named, verb),
            },
        }
    }
}

/// The token a program was told.
pub fn token_in(answer: &str) -> &str {
    let (_, rest) = answer.split_once("\"token\":\"").unwrap();
    rest.split('"').next().unwrap()
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

pub fn signed_in(token: &str) -> String {
    format!("Cookie: __Host-freehold={token}\r\nSec-Fetch-Site: same-origin\r\n")
}

/// The session of somebody.
pub fn token_of(who: &Somebody) -> &str {
    match &who.caller {
        Caller::User { token, .. } => token,
        other => panic!("{other:?} has no session"),
    }
}

pub fn nobody(what: &'static str, headers: String) -> Somebody {
    Somebody {
        what,
        headers,
        caller: Caller::Nobody,
    }
}
