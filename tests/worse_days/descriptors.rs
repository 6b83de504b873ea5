//! Out of file descriptors: strangers may take what is theirs and no more, and a process that has none left lives on.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::ledger::{APP, Ledger, Verb};
use crate::quiet_box::QuietBox;
use crate::support::freehold::words;
use crate::support::process::run;
use crate::support::until::{secs, until};
use crate::support::upstream;

/// Descriptors the daemon may have: twice what it has when idle, and a bit.
const FEW: u64 = 150;
/// Connections that strangers hold, or try to: more than it may have in all.
const CROWD: usize = 300;
/// What the log says of those who cannot be let in.
const SHUT_OUT: &str = "connections cannot be accepted";
/// Changes asked for while they are there.
const CHANGES: usize = 12;
/// Changes asked for where each waits until strangers are closed.
const WAITING: usize = 4;

/// Strangers who open connections, say nothing, and open others for those that are closed.
struct Crowd {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Crowd {
    fn come(to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut held: Vec<TcpStream> = Vec::new();
            while !until.load(Ordering::Relaxed) {
                held.retain(|one| matches!(one.peek(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock));
                while held.len() < CROWD {
                    let limit = Duration::from_millis(200);
                    let Ok(one) = TcpStream::connect_timeout(&to, limit) else {
                        break;
                    };
                    one.set_nonblocking(true).unwrap();
                    held.push(one);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { stop, thread }
    }

    fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// A box with a route to something that answers, and nobody slowed by an address or a quota.
fn a_box() -> QuietBox {
    let port = upstream::answering("here");
    QuietBox::new(&format!(
        "[limits]\nconnections_per_address = 5000\nnew_connections_per_address = 5000\napi_reads = 100000\napi_changes = 100000\n\
         [[route]]\nhost = \"route.localhost\"\nupstream = \"http://127.0.0.1:{port}\"\ntls = \"internal\"\n"
    ))
}

/// A visitor is served.
fn served(on: &QuietBox) {
    let edge = on.edge();
    until("a visitor to be served", secs(60), || {
        let answer = edge.get("https://route.localhost/").send()?;
        match (answer.status, answer.text().as_str()) {
            (200, "here") => Ok(()),
            _ => Err(format!("{}: {}", answer.status, answer.text())),
        }
    });
}

/// Lines of the log that say it, and what they say of it in a minute.
fn said(log: &str, what: &str) -> usize {
    log.lines().filter(|line| line.contains(what)).count()
}

fn open(pid: u32) -> u64 {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    all.count().try_into().unwrap()
}

fn soft_limit(pid: u32, to: u64) {
    let to = format!("--nofile={to}:");
    run(Command::new("prlimit").args(["--pid", &pid.to_string(), &to]));
}

/// Asks for changes while strangers are there; how many were acknowledged.
fn changes(on: &QuietBox, ledger: &mut Ledger, from: usize, count: usize) -> usize {
    let verbs = [Verb::Env, Verb::Token, Verb::Domain, Verb::App];
    let asked = (0..count).map(|n| ledger.ask(on, verbs[n % verbs.len()], from + n));
    asked.filter(|acknowledged| *acknowledged).count()
}

/// The soft limit is raised at the start; what the hard one leaves to strangers leaves the box its own.
#[test]
fn n7_strangers_leave_the_box_the_descriptors_it_needs() {
    let _turn = crate::beside_others();
    let mut on = a_box();
    on.start_by(&["prlimit", &format!("--nofile=64:{FEW}")]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", on.pid())).unwrap();
    let line = limits.lines().find(|l| l.starts_with("Max open files"));
    let soft = line.and_then(|l| l.split_whitespace().nth(3));
    assert_eq!(soft, Some(FEW.to_string().as_str()), "{limits}");
    let mut ledger = Ledger::begin(&on);

    let crowd = Crowd::come(on.https());
    until("the strangers to have what they may", secs(60), || {
        let open = open(on.pid());
        (open >= FEW / 2).then_some(()).ok_or(open.to_string())
    });
    let begun = std::time::Instant::now();
    assert_eq!(
        changes(&on, &mut ledger, 0, CHANGES),
        CHANGES,
        "{:?}",
        ledger.said
    );
    let doctor = words(&on.try_cli(&["doctor"]));
    assert!(
        doctor.contains("37 connections are taken at once"),
        "{doctor}"
    );
    println!(
        "{CHANGES} changes beside {CROWD} strangers took {} ms, {} descriptors open",
        begun.elapsed().as_millis(),
        open(on.pid())
    );
    crowd.leave();
    served(&on);
    let wrong = ledger.wrong(&on);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let log = on.kill();
    assert_eq!(said(&log, SHUT_OUT), 0, "{log}");
    assert_eq!(
        said(&log, "the edge takes 37 connections at once"),
        1,
        "{log}"
    );
}

/// The same strangers where nothing keeps them from taking all there is, which is what the test above would find without
/// that: not even the box's owner is let in, and it says so once a minute. It lives on, and what it acknowledged is there.
#[test]
fn n7_a_box_without_descriptors_lives_on() {
    let _turn = crate::beside_others();
    let mut on = a_box();
    on.start();
    let mut ledger = Ledger::begin(&on);
    let pid = on.pid();
    changes(&on, &mut ledger, 0, CHANGES);
    // Its own connections are counted for 65,536, as if the limit had been forgotten.
    soft_limit(pid, FEW);
    // What is said once a minute may be said from here on.
    let begun = std::time::Instant::now();
    let crowd = Crowd::come(on.https());
    until("all descriptors to be taken", secs(60), || {
        let open = open(pid);
        (open + 4 >= FEW).then_some(()).ok_or(open.to_string())
    });
    // Strangers who say nothing are closed after a while, and what waited is done then.
    let acknowledged = changes(&on, &mut ledger, 100, WAITING);
    println!(
        "without descriptors {acknowledged} of {WAITING} changes were made in {} ms, {:?}",
        begun.elapsed().as_millis(),
        ledger.said
    );
    crowd.leave();
    served(&on);
    // The limit as it was: all is well again without a restart.
    soft_limit(pid, 4_096);
    assert_eq!(
        changes(&on, &mut ledger, 200, CHANGES),
        CHANGES,
        "{:?}",
        ledger.said
    );
    let wrong = ledger.wrong(&on);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(on.pid(), pid);

    let minutes = 1 + usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
    let log = on.kill();
    let lines = said(&log, SHUT_OUT);
    // Two sockets of the box's own beside the edge.
    assert!((1..=3 * minutes).contains(&lines), "{lines} lines:\n{log}");
    assert!(said(&log, "web-local") >= 1, "its owner was let in:\n{log}");
    let errors = said(&log, "Too many open files");
    println!("{lines} lines said so, {errors} in all name the reason");
    assert!(errors <= 40 * minutes, "{errors} lines:\n{log}");
    on.start();
    let wrong = ledger.wrong(&on);
    assert!(wrong.is_empty(), "after a restart: {wrong:#?}");
    on.cli(&["app", "show", APP]);
}
