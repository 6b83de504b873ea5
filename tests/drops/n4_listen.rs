//! N4: a new Freehold that fails its own look at the settings, the state or the sockets leaves the old one serving; one that
//! is to listen elsewhere does, and nobody who came to the old address is lost.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::n4_handover::WARM;
use crate::place::{PLAIN, Place, Shape};
use crate::rig::load::EVERYTHING;
use crate::support::edge::Edge;
use crate::support::freehold::Freehold;
use crate::support::until::{secs, until, until_true};

/// Saves another text in the config file's place.
fn edit(fh: &Freehold, from: &str, to: &str) {
    let text = std::fs::read_to_string(fh.config_file()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(fh.config_file(), text.replace(from, to)).unwrap();
}

fn set_schema(fh: &Freehold, by: i64) {
    let state = rusqlite::Connection::open(fh.data_dir().join("state.db")).unwrap();
    state.busy_timeout(secs(30)).unwrap();
    let now: i64 = state
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    state.pragma_update(None, "user_version", now + by).unwrap();
}

#[test]
fn n4_a_new_freehold_that_fails_its_look_leaves_the_old_one_serving() {
    // The one handover that succeeds leaves the old one its whole time: nothing is cut, however slow the machine is.
    let place = Place::of_own_program(Shape {
        replicas: 2,
        ..PLAIN
    });
    let load = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&load, WARM);
    let fh = &place.fh;
    let refused = |what: &str, said: &str| {
        load.mark(what);
        let before = fh.pid();
        let refused = fh.refused(&["reload"]);
        assert!(
            refused.contains(said) && refused.contains("did not take over"),
            "{what}: {refused}"
        );
        assert_eq!(fh.pid(), before, "{what}");
        fh.cli(&["env", "shop"]);
    };
    // Settings that it cannot read, and none that were kept.
    let kept = fh.data_dir().join("settings.kept");
    let text = std::fs::read(&kept).unwrap();
    edit(fh, "[listen]\n", "[listen]\nnonsense = 1\n");
    std::fs::remove_file(&kept).unwrap();
    refused("the settings have a mistake", "nonsense");
    edit(fh, "[listen]\nnonsense = 1\n", "[listen]\n");
    std::fs::write(&kept, text).unwrap();
    // A state that a program after the next wrote.
    set_schema(fh, 100);
    refused("the state is newer", "newer");
    set_schema(fh, -100);
    // Another data folder, which would be an empty box.
    let data = format!("data_dir = \"{}\"", fh.data_dir().display());
    let other = format!("data_dir = \"{}\"", fh.path("other").display());
    edit(fh, &data, &other);
    refused("another data folder", "begin with an empty box");
    edit(fh, &other, &data);
    // What is held for the box counts, whatever the settings say; `status` tells what to do.
    let (held, asked) = (
        format!("{}:443", fh.address),
        format!("{}:8443", fh.address),
    );
    edit(fh, &held, &asked);
    until("the edit to be told", secs(60), || {
        let told = fh.cli(&["status"]);
        let is_told = told.contains("ListenStream=") && told.contains(&asked);
        if is_told { Ok(()) } else { Err(told) }
    });
    load.mark("another address, with held sockets");
    fh.cli(&["reload"]);
    let told = fh.cli(&["status"]);
    assert!(
        told.contains("ListenStream=") && told.contains(&asked),
        "{told}"
    );
    let at = SocketAddr::from((fh.address, 8443));
    assert!(TcpStream::connect(at).is_err(), "{at} is listened on");
    place.goes_on(&load, WARM);
    let report = place.report("n4-fails-its-look", &load.finish());
    report.assert_flawless(place.scale.requests(2 * WARM));
}

/// Something on the box that answers when it is let.
struct Slow {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Slow {
    fn start(answers_after: std::time::Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || {
                    if stream.read(&mut [0; 8192]).is_ok_and(|read| read > 0) {
                        count.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(answers_after);
                        let answer =
                            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nslow";
                        stream.write_all(answer.as_bytes()).ok();
                    }
                });
            }
        });
        Self { port, asked }
    }
}

fn ask(edge: &Edge, port: u16) -> Result<String, String> {
    let to = format!(":{port}:{}:{port}", edge.address);
    let asked = edge.get(&format!("https://slow.localhost:{port}/"));
    let answer = asked.option(&["--connect-to", &to]).send()?;
    Ok(format!("{} {}", answer.status, answer.text()))
}

#[test]
fn n4_another_address_is_listened_on_and_nobody_at_the_old_one_is_lost() {
    let slow = Slow::start(secs(4));
    let mut fh = Freehold::new();
    fh.is_held = false;
    // One says nothing until all is done, which a busy machine takes its time for.
    fh.configure(&format!(
        "[timeouts]\nheader = \"60s\"\n[[route]]\nhost = \"slow.localhost\"\nupstream = \"http://127.0.0.1:{}\"\ntls = \"internal\"\n",
        slow.port
    ));
    fh.start();
    let status = fh.json(&["status"]);
    let edge = fh.edge(std::path::Path::new(status["root_file"].as_str().unwrap()));
    until("the route", secs(60), || ask(&edge, 443));

    // An address that somebody else has: the old one stays where it is.
    let taken = TcpListener::bind((fh.address, 0)).unwrap();
    let (held, asked) = (
        format!("https = \"{}:443\"", fh.address),
        format!("https = \"{}\"", taken.local_addr().unwrap()),
    );
    edit(&fh, &held, &asked);
    let before = fh.pid();
    let refused = fh.refused(&["reload"]);
    assert!(refused.contains("is taken by another program"), "{refused}");
    assert_eq!(fh.pid(), before);
    assert_eq!(ask(&edge, 443).unwrap(), "200 slow");

    // Both addresses: who has sent, who has only connected, and who connects meanwhile.
    let begun = slow.asked.load(Ordering::SeqCst);
    let sent: Vec<_> = (0..4)
        .map(|_| {
            let edge = edge.clone();
            std::thread::spawn(move || ask(&edge, 443))
        })
        .collect();
    until_true("all to be with the upstream", secs(60), || {
        slow.asked.load(Ordering::SeqCst) >= begun + 4
    });
    let mut connected = TcpStream::connect((fh.address, 80)).unwrap();
    let moved = format!("https = \"{}:8443\"", fh.address);
    edit(&fh, &asked, &moved);
    let (http, moved_http) = (
        format!("http = \"{}:80\"", fh.address),
        format!("http = \"{}:8080\"", fh.address),
    );
    edit(&fh, &http, &moved_http);
    fh.cli(&["reload"]);
    connected
        .write_all(b"GET / HTTP/1.1\r\nHost: slow.localhost\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    connected.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 30"), "{answer:?}");
    for one in sent {
        assert_eq!(one.join().unwrap().unwrap(), "200 slow");
    }
    assert_eq!(ask(&edge, 8443).unwrap(), "200 slow");
    // Nobody listens where nobody takes connections.
    for port in [80, 443] {
        let at = SocketAddr::from((fh.address, port));
        until(
            "the old address to be given up",
            secs(60),
            || match TcpStream::connect(at) {
                Ok(_) => Err(format!("{at} is listened on")),
                Err(_) => Ok(()),
            },
        );
    }
    let told = fh.cli(&["status"]);
    assert!(
        !told.contains("`freehold reload` when it suits you"),
        "{told}"
    );
}
