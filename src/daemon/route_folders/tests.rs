//! Switches of folders, one step at a time and under load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::base::cidr::Cidr;
use crate::base::log_share::LogShare;
use crate::proxy::{Edge, Limits, Listeners, Proxies, Traits};
use crate::routing::{self, Input, Route};

/// A release's folder with this page.
fn laid(at: &Path, name: &str) -> Folder {
    let (path, record) = (at.join(name), at.join(format!("{name}.manifest")));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("index.html"), name).unwrap();
    StaticSite::record(&path, false, &record).unwrap();
    Folder {
        path,
        single_page: false,
        record: Some(record),
    }
}

/// The folder that answers, if one does, and whether the app's is still unread.
fn ask(of: &mut RouteFolders, app: i64, policies: &Policies, folder: &Folder) -> (String, bool) {
    let answer = of.answer("route:1", Some(app), policies, folder.clone());
    let unread = of.settle();
    let name = match answer {
        Answer::Files(site) => site.folder().file_name().unwrap().to_string_lossy().into(),
        _ => String::new(),
    };
    (name, unread.contains_key(&app))
}

async fn until_read(of: &mut RouteFolders) {
    let changed = tokio::time::timeout(Duration::from_secs(30), of.changed());
    changed.await.unwrap();
}

#[tokio::test]
async fn e6_a_route_answers_with_the_folder_before_until_the_next_one_is_read() {
    let at = tempfile::tempdir().unwrap();
    let (one, two) = (laid(at.path(), "1"), laid(at.path(), "2"));
    let open = Policies::default();
    let mut of = RouteFolders::default();
    assert_eq!(ask(&mut of, 7, &open, &one), ("".into(), true), "held");
    until_read(&mut of).await;
    assert_eq!(ask(&mut of, 7, &open, &one), ("1".into(), false));
    // Gathered as often as may be meanwhile.
    for _ in 0..2 {
        assert_eq!(ask(&mut of, 7, &open, &two), ("1".into(), true));
    }
    until_read(&mut of).await;
    assert_eq!(ask(&mut of, 7, &open, &two), ("2".into(), false));
}

#[tokio::test]
async fn e6_a_folder_before_is_shown_to_nobody_it_was_not_shown_to() {
    let at = tempfile::tempdir().unwrap();
    let (one, two) = (laid(at.path(), "1"), laid(at.path(), "2"));
    let guarded: Policies = toml::from_str("allow = [\"192.0.2.1\"]").unwrap();
    let mut of = RouteFolders::default();
    ask(&mut of, 7, &guarded, &one);
    until_read(&mut of).await;
    assert_eq!(ask(&mut of, 7, &guarded, &one).0, "1");
    assert_eq!(ask(&mut of, 7, &Policies::default(), &two).0, "");
    // Nor is another app's.
    let mut of = RouteFolders::default();
    ask(&mut of, 7, &guarded, &one);
    until_read(&mut of).await;
    assert_eq!(ask(&mut of, 7, &guarded, &one).0, "1");
    assert_eq!(ask(&mut of, 8, &guarded, &two).0, "");
}

#[tokio::test]
async fn e6_why_a_release_s_folder_cannot_be_served_is_known() {
    let at = tempfile::tempdir().unwrap();
    let gone = Folder {
        path: at.path().join("3"),
        single_page: false,
        record: Some(at.path().join("3.manifest")),
    };
    let mut of = RouteFolders::default();
    for _ in 0..2 {
        of.answer("route:1", Some(7), &Policies::default(), gone.clone());
        if let Some(Some(why)) = of.settle().get(&7) {
            assert!(why.contains("cannot be read"), "{why}");
            return;
        }
        until_read(&mut of).await;
    }
    panic!("nothing is known");
}
/// What an edge under load gave.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    served: AtomicU64,
    failed: AtomicU64,
}

impl Load {
    /// Asks for a page again and again until it is over.
    fn run(&self, address: SocketAddr) {
        while !self.over.load(Ordering::Relaxed) {
            let text = page(address).unwrap_or_default();
            let whole = text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\npage");
            let count = if whole { &self.served } else { &self.failed };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answers(&self) -> u64 {
        self.served.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }
}

fn page(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET /299.txt HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// A route whose requests are held for no time at all: one that nothing answers fails.
fn route(answer: Answer) -> Route {
    Route {
        key: "route:1".into(),
        group: "app:7".into(),
        app: "site".into(),
        process: "web".into(),
        host: "a.test".into(),
        path: "/".into(),
        answer,
        body_bytes: None,
        held_for: Some(Duration::ZERO),
        traits: Traits::default(),
        access_log: LogShare::ALL,
        policies: Policies::default(),
        public_certificate: false,
    }
}

/// Switches to and fro under load; `forgets`: as if nothing was known of the folder before.
async fn switched_under_load(forgets: bool) -> Load {
    let at = tempfile::tempdir().unwrap();
    let releases = ["1", "2"].map(|name| {
        for file in 0..300 {
            let path = at.path().join(name).join(format!("{file}.txt"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "page").unwrap();
        }
        laid(at.path(), name)
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listeners = Listeners {
        http: vec![listener],
        https: Vec::new(),
    };
    let limits = Limits {
        workers: Some(1),
        new_connections_per_address: u32::MAX,
        ..Limits::default()
    };
    let (failed, _failures) = tokio::sync::mpsc::channel(1);
    let edge = Edge::start(listeners, Arc::default(), limits, failed).unwrap();
    // Where a name has no certificate, http alone is not answered.
    edge.trust(Proxies {
        trusted: vec![Cidr::parse("127.0.0.0/8").unwrap()],
        ..Proxies::default()
    });
    let load = Arc::new(Load::default());
    let (mut clients, mut of) = (Vec::new(), RouteFolders::default());
    let [one, two] = &releases;
    // A start, a deploy, a rollback, a deploy.
    for folder in [one, two, one, two] {
        loop {
            if forgets {
                of.served.clear();
            }
            let answer = of.answer("route:1", Some(7), &Policies::default(), folder.clone());
            let unread = of.settle();
            let input = Input {
                routes: vec![route(answer)],
                ..Input::default()
            };
            let handle = edge.handle();
            let built = routing::build(input, &handle.snapshot());
            handle.publish(Arc::new(built.snapshot));
            // What is published meets requests.
            let (begun, before) = (Instant::now(), load.answers());
            while !clients.is_empty() && load.answers() < before + 50 {
                assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "nothing is answered"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if unread.is_empty() {
                break;
            }
            until_read(&mut of).await;
        }
        if clients.is_empty() {
            clients = (0..4)
                .map(|_| {
                    let load = load.clone();
                    std::thread::spawn(move || load.run(address))
                })
                .collect();
        }
    }
    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    Arc::into_inner(load).unwrap()
}

#[tokio::test]
async fn e6_a_switch_and_a_rollback_of_a_folder_drop_no_request() {
    let load = switched_under_load(false).await;
    assert_eq!(load.failed.into_inner(), 0);
    assert!(load.served.into_inner() > 300);
    let sabotaged = switched_under_load(true).await;
    assert!(
        sabotaged.failed.into_inner() > 0,
        "the test sees what it looks for"
    );
}
