//! N6: an app that is paused, on a real engine: requests wait at the box's own edge, body unread, and are answered when the
//! pause is over; at their limit they get a page that says when to come again. Maintenance, and a restore under load.

#[allow(dead_code)]
#[path = "worse_days/served_box.rs"]
mod served_box;
mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use served_box::{APP, ServedBox, folder};
use support::counts;
use support::edge::{Answer, Edge};
use support::freehold::{Freehold, words};
use support::load::{Load, Report};
use support::until::{secs, until};

const URL: &str = "https://shop.localhost/";
/// Requests sent while the app is in maintenance, half of them over HTTP/2.
const HELD: usize = 8;
/// How long they may wait there: longer than any machine needs to switch it off again.
const HOLD: &str = "250s";
/// Where waiting is over at once.
const SHORT: Duration = Duration::from_secs(2);

fn settings(hold: &str) -> String {
    format!("[build]\nfree_disk = \"1M\"\n[hold]\ntime = \"{hold}\"\n")
}

/// A visitor who waits: the answer, and when it came.
fn visitor(
    edge: &Edge,
    http2: bool,
    accept: &'static str,
) -> std::thread::JoinHandle<(Answer, Instant)> {
    let edge = edge.clone();
    std::thread::spawn(move || {
        let asked = edge.get(URL).header("Accept", accept);
        let asked = asked.option(&["--max-time", "280"]);
        let asked = if http2 { asked.http2() } else { asked.http1() };
        (asked.send().unwrap(), Instant::now())
    })
}

#[test]
fn n6_requests_of_an_app_in_maintenance_wait_for_its_end_or_get_a_page_at_their_limit() {
    let on = ServedBox::start(&settings(&format!("{}s", SHORT.as_secs())));
    on.fh.cli(&["maintenance", APP, "on"]);
    for (http2, accept) in [
        (false, "text/html"),
        (true, "text/html"),
        (true, "application/json"),
    ] {
        let (page, _) = visitor(on.edge(), http2, accept).join().unwrap();
        assert_eq!(page.status, 503, "{}", page.text());
        let again: u64 = page.header("retry-after").parse().unwrap();
        assert!((1..=600).contains(&again), "{again}");
        assert!(page.took >= SHORT, "it waited {:?} of {SHORT:?}", page.took);
        let said = page.text();
        assert!(said.contains("The app is being worked on"), "{said}");
        let is_page = said.to_lowercase().contains("<!doctype html>");
        assert_eq!(is_page, accept == "text/html", "{said}");
    }
    on.fh.cli(&["maintenance", APP, "off"]);
    on.until_served();

    on.fh.configure(&settings(HOLD));
    on.fh.restart();
    on.until_served();
    on.fh.cli(&["maintenance", APP, "on"]);
    let visitors: Vec<_> = (0..HELD)
        .map(|n| visitor(on.edge(), n % 2 == 0, "text/html"))
        .collect();
    until("the visitors to wait", secs(120), || {
        let told = on.fh.json(&["status", "--routes"]);
        let held = &told["edge"]["held"];
        (*held == HELD)
            .then_some(())
            .ok_or_else(|| held.to_string())
    });
    let over = Instant::now();
    on.fh.cli(&["maintenance", APP, "off"]);
    for visitor in visitors {
        let (answer, at) = visitor.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "fine"));
        assert!(at > over, "it was answered before the maintenance was over");
    }
    // The last place is given back behind the answer.
    until("nobody to be held", secs(60), || {
        let told = on.fh.json(&["status", "--routes"]);
        let held = &told["edge"]["held"];
        (*held == 0).then_some(()).ok_or_else(|| held.to_string())
    });
}

/// Requests a second.
const RATE: u32 = 40;
/// Restores by a daemon that does not pause, of which one must be noticed.
const TRIES: usize = 4;
/// Rows in the dump.
const DUMPED: &str = "1000";
/// Rows before it is restored.
const LEFT: &str = "10";

/// A box with an app that asks its database, and a dump of that.
struct Counting {
    fh: Freehold,
    edge: Edge,
    dump: String,
    _dumps: tempfile::TempDir,
}

impl Counting {
    fn new() -> Self {
        let dumps = tempfile::tempdir().unwrap();
        let mut fh = Freehold::new();
        // On a busy machine the pause lasts, all who come meanwhile are held, and then all come at once.
        fh.configure(
            "[build]\nfree_disk = \"1M\"\n[hold]\ntime = \"250s\"\nrequests = 10000\n[limits]\nconnections_per_address = 10000\nnew_connections_per_address = 10000\n",
        );
        fh.start();
        fh.cli(&["db", "create", "main"]);
        fh.cli(&["app", "create", APP]);
        fh.cli(&["domain", "add", APP, "shop.localhost"]);
        fh.cli(&["db", "attach", "main", APP]);
        psql(
            &fh,
            &format!(
                "SET ROLE {APP}; CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, {DUMPED});"
            ),
        );
        fh.cli(&[
            "deploy",
            &folder(&fh, "counts", &counts::FILES),
            "--app",
            APP,
        ]);
        let place = format!("dir://{}", dumps.path().display());
        fh.cli(&["target", "add", "usb", &place]);
        fh.cli(&["backup", "now", "main"]);
        let all = fh.json(&["backup", "list", "main"]);
        let all = all.as_array().unwrap();
        let of_it = all
            .iter()
            .find(|b| b["state"] == "stored" && b["part"] == APP);
        let of_it = of_it.unwrap_or_else(|| panic!("{all:#?}"));
        let dump = of_it["id"].to_string();
        let status = fh.json(&["status"]);
        let edge = fh.edge(Path::new(status["root_file"].as_str().unwrap()));
        Self {
            fh,
            edge,
            dump,
            _dumps: dumps,
        }
    }

    fn counted(&self) -> Result<String, String> {
        let answer = self.edge.get(URL).send()?;
        match answer.status {
            200 => Ok(answer.text()),
            _ => Err(answer.text()),
        }
    }

    fn until_counted(&self, wanted: &str) {
        until(&format!("{wanted} rows"), secs(120), || {
            match self.counted()? {
                rows if rows == wanted => Ok(()),
                rows => Err(rows),
            }
        });
    }

    /// Restores the dump while the app is asked; what became of the requests.
    fn restored_under_load(&self) -> Report {
        psql(&self.fh, &format!("DELETE FROM kept WHERE n > {LEFT};"));
        self.until_counted(LEFT);
        let load = Load::start(&self.edge, URL, RATE, |rows| [DUMPED, LEFT].contains(&rows));
        self.fh.cli(&["backup", "restore", &self.dump, "--yes"]);
        self.until_counted(DUMPED);
        let mut report = load.finish();
        // On a machine that is busy an answer may be late for other reasons; it is an answer.
        report.failures.remove("late");
        println!(
            "{} requests, the slowest took {:?}: {:#?}",
            report.sent, report.slowest, report.failures
        );
        let restore = &self.fh.json(&["backup", "restores", "main"])[0];
        assert_eq!(restore["state"], "done", "{restore:#}");
        self.fh
            .cli(&["backup", "confirm", &restore["id"].to_string(), "--yes"]);
        report
    }
}

/// As a person types it, in the app's own part of the server.
fn psql(fh: &Freehold, sql: &str) {
    let mut command = fh.command(&["db", "psql", "main", "--part", APP]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{sql}").unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(
        out.status.success() && !words(&out).contains("ERROR"),
        "{sql}: {}",
        words(&out)
    );
}

#[test]
fn n6_requests_sent_through_a_restore_are_all_answered_and_without_its_pause_some_are_not() {
    let place = Counting::new();
    place.until_counted(DUMPED);
    let report = place.restored_under_load();
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert!(report.good > 0, "nothing was asked");

    if cfg!(feature = "crash-points") {
        place.fh.sabotage(Some("no-pause"));
        place.until_counted(DUMPED);
        // The daemon answers before it has seen which containers run.
        until("the server to be known", secs(120), || {
            let shell = ["db", "psql", "main", "--part", APP];
            let out = place.fh.try_cli(&shell);
            let said = words(&out);
            out.status.success().then_some(()).ok_or(said)
        });
        let noticed = (0..TRIES).any(|_| !place.restored_under_load().failures.is_empty());
        assert!(
            noticed,
            "databases changed places under requests, and none failed"
        );
    }
}
