//! A2, A3, A4: what is revoked keeps nothing open. A stream that was begun with a session or token ends with it, with
//! its user, and with the role that let it be opened.
//!
//! The daemon is the real one, without an engine; shells and the logs of containers are in tests/deploy_engine.rs.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use freehold::users::{Role, Verb};

#[path = "support/forms.rs"]
mod forms;
#[path = "support/quiet.rs"]
mod quiet;
#[path = "support/visitors.rs"]
#[allow(dead_code, reason = "shared with tests that need all of it")]
mod visitors;

use visitors::{Somebody, World};

/// Longer than a stream may outlive what let it be opened, on a slow machine too, and shorter than a deploy waits for a git
/// host that says nothing.
const SOON: Duration = Duration::from_secs(30);
/// Nothing but a stream that goes on is still open by then.
const MOMENT: Duration = Duration::from_millis(1500);

/// A stream that was opened and goes on.
struct Open {
    stream: UnixStream,
    what: String,
}

impl Open {
    fn at(world: &World, socket: &str, path: &str, headers: &str) -> Self {
        let mut stream = UnixStream::connect(world.daemon.socket(socket)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        let what = path.to_owned();
        Self { stream, what }
    }

    /// It does for so long.
    fn goes_on(&mut self, limit: Duration) {
        assert!(!self.is_over(limit), "{}", self.what);
    }

    /// Whether it breaks off within `limit`, whatever it says until then.
    fn is_over(&mut self, limit: Duration) -> bool {
        let begun = Instant::now();
        let mut chunk = [0; 4096];
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
    }
}

/// A git host that says nothing, and the deploy of shop that waits for it: its job and its log stay open.
fn silent_deploy(world: &World) -> (TcpListener, String, String) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/shop.git", silent.local_addr().unwrap());
    let form = serde_json::json!({ "git_url": url }).to_string();
    let (status, text) = world.local("POST", "/api/v1/apps/shop/deploys", &form);
    assert_eq!(status, 202, "{text}");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let deploy = body["deploy"].as_i64().unwrap();
    let job = body["job"]["id"].as_i64().unwrap();
    (silent, format!("{deploy}"), format!("{job}"))
}

/// Each stream that stays open without an engine, as somebody who may open them all.
fn opened(world: &World, deploy: &str, job: &str, who: &Somebody) -> Vec<Open> {
    let paths = [
        "/api/v1/events/stream".to_owned(),
        format!("/api/v1/apps/shop/deploys/{deploy}/log"),
        format!("/apps/shop/deploys/{deploy}/log"),
        format!("/api/v1/jobs/{job}/events"),
    ];
    let open = |path: &String| Open::at(world, "edge.sock", path, &who.headers);
    let mut all: Vec<Open> = paths.iter().map(open).collect();
    // One moment for all of them: what a git host does not say is waited for a minute only, and the deploy's streams end then.
    all[0].goes_on(MOMENT);
    all.iter_mut().for_each(|open| open.goes_on(MOMENT / 10));
    all
}

fn all_over(streams: Vec<Open>, why: &str) {
    for mut open in streams {
        assert!(open.is_over(SOON), "{} goes on after {why}", open.what);
    }
}

#[test]
fn a2_an_open_stream_ends_with_its_session_its_user_and_its_token() {
    let world = World::new();
    let (_silent, deploy, job) = silent_deploy(&world);
    let mut owned = Open::at(&world, "freehold.sock", "/api/v1/events/stream", "");
    owned.goes_on(MOMENT);
    let viewer = world.somebody("viewer", Role::Viewer, &[]);
    let streams = opened(&world, &deploy, &job, &viewer);
    let (status, text) = world.local("DELETE", "/api/v1/users/viewer/sessions", "");
    assert!(status < 300, "{text}");
    all_over(streams, "its session was ended");

    let admin = world.somebody("admin", Role::Admin, &[]);
    let streams = opened(&world, &deploy, &job, &admin);
    let (status, text) = world.local("DELETE", "/api/v1/users/admin", "");
    assert_eq!(status, 204, "{text}");
    all_over(streams, "its user was removed");

    let program = world.program("a token that reads", Verb::Read, None);
    let streams = opened(&world, &deploy, &job, &program);
    let (_, list) = world.local("GET", "/api/v1/tokens", "");
    let (_, rest) = list.split_once("\"id\":").unwrap();
    let id = rest.split(',').next().unwrap();
    let (status, text) = world.local("DELETE", &format!("/api/v1/tokens/{id}"), "");
    assert_eq!(status, 204, "{text}");
    all_over(streams, "its token was ended");
    assert!(
        !owned.is_over(Duration::from_secs(1)),
        "the box's own ended"
    );
}

#[test]
fn a4_an_open_stream_ends_with_the_role_that_let_it_be_opened() {
    let world = World::new();
    let (_silent, deploy, job) = silent_deploy(&world);
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    world.come_in(&link);
    let viewer = world.somebody("viewer", Role::Viewer, &[]);
    let streams = opened(&world, &deploy, &job, &viewer);
    let other = r#"{"role":"developer","apps":["blog"]}"#;
    let (status, text) = world.local("PATCH", "/api/v1/users/viewer", other);
    assert_eq!(status, 200, "{text}");
    all_over(streams, "its user became a developer of another app");

    let developer = world.somebody("developer", Role::Developer, &["shop", "blog"]);
    let log = format!("/apps/shop/deploys/{deploy}/log");
    let mut kept = Open::at(&world, "edge.sock", &log, &developer.headers);
    kept.goes_on(MOMENT);
    let fewer = r#"{"role":"developer","apps":["shop"]}"#;
    let (status, text) = world.local("PATCH", "/api/v1/users/developer", fewer);
    assert_eq!(status, 200, "{text}");
    assert!(!kept.is_over(Duration::from_secs(3)), "still their own app");
    let (status, text) = world.local("PATCH", "/api/v1/users/developer", other);
    assert_eq!(status, 200, "{text}");
    all_over(vec![kept], "the app was taken from its user");
}
