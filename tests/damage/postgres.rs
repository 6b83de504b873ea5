//! The state is lost while a Postgres runs and an app asks it: the same server serves on with its data, is known again with the
//! app that is attached to it, and nothing is made a second time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::served_box::{APP, folder};
use crate::support::counts;
use crate::support::edge::Edge;
use crate::support::freehold::{Freehold, words};
use crate::support::process::run;
use crate::support::until::{secs, until, until_true};
use crate::{container, files, lose, spoil, tear};

/// Rows that the app's table begins with.
const ROWS: usize = 3;
/// An app that needs nothing.
const NEW: [(&str, &str); 1] = [(
    "Dockerfile",
    "FROM python:3.13-slim\nCMD [\"python\", \"-m\", \"http.server\", \"8000\"]\n",
)];

/// A box with an app that counts the rows of its database.
struct Counting {
    fh: Freehold,
    edge: Edge,
    /// `label=freehold.installation=<id>`.
    ours: String,
    /// Snapshots from before the database and the app.
    of_old: Vec<(PathBuf, Vec<u8>)>,
}

impl Counting {
    fn new() -> Self {
        let mut fh = Freehold::new();
        fh.configure("[build]\nfree_disk = \"1M\"\n");
        fh.start();
        // The first is of an empty state, and does not know this installation.
        until_true("a snapshot of the box", secs(120), || {
            files(&safe(&fh), "snapshot-").len() >= 2
        });
        let old = files(&safe(&fh), "snapshot-").into_iter();
        let of_old = old.map(|file| (file.clone(), fs::read(file).unwrap()));
        let of_old = of_old.collect();
        fh.cli(&["db", "create", "main"]);
        fh.cli(&["app", "create", APP]);
        fh.cli(&["domain", "add", APP, "shop.localhost"]);
        fh.cli(&["db", "attach", "main", APP]);
        let status = fh.json(&["status"]);
        let edge = fh.edge(Path::new(status["root_file"].as_str().unwrap()));
        let ours = format!("label=freehold.installation={}", fh.installation());
        let this = Self {
            fh,
            edge,
            ours,
            of_old,
        };
        this.sql(&format!(
            "SET ROLE {APP}; CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, {ROWS})"
        ));
        let tree = folder(&this.fh, "counts", &counts::FILES);
        this.fh.cli(&["deploy", &tree, "--app", APP]);
        this
    }

    /// Asked of the server itself, whether or not a daemon knows of it.
    fn sql(&self, sql: &str) -> String {
        let kind = "label=freehold.kind=database";
        let server = self.list(&["ps", "-q", "--filter", kind], "{{.ID}}");
        let mut ask = Command::new("docker");
        ask.args(["exec", "-u", "postgres", &server[0], "psql", "-qtA"]);
        run(ask.args(["-v", "ON_ERROR_STOP=1", "-d", APP, "-c", sql]))
    }

    fn list(&self, arguments: &[&str], format: &str) -> Vec<String> {
        let mut list = Command::new("docker");
        list.args(arguments).args(["--filter", &self.ours]);
        let said = run(list.args(["--format", format]));
        said.lines().map(str::to_owned).collect()
    }

    /// All that is ours at the engine: which one each is, and not only what for. A volume has no number, but a time.
    fn objects(&self) -> BTreeSet<String> {
        let containers = self.list(&["ps", "-a", "--no-trunc"], "{{.ID}} {{.Names}}");
        let networks = self.list(&["network", "ls", "--no-trunc"], "{{.ID}} {{.Name}}");
        let volumes = self.list(&["volume", "ls"], "{{.Name}}");
        let made = volumes.into_iter().map(|name| {
            let mut inspect = Command::new("docker");
            inspect.args(["volume", "inspect", "--format", "{{.CreatedAt}} {{.Name}}"]);
            run(inspect.arg(name)).trim().to_owned()
        });
        containers.into_iter().chain(networks).chain(made).collect()
    }

    /// The server and the app's replica, since when they run, and how often they were started.
    fn both(&self) -> [String; 2] {
        ["database", "replica"].map(|kind| container(&self.fh, kind))
    }

    fn until_counted(&self, wanted: usize) {
        until(&format!("{wanted} rows"), secs(120), || {
            let answer = self.edge.get("https://shop.localhost/").send()?;
            match (answer.status, answer.text()) {
                (200, rows) if rows == wanted.to_string() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// The server dumps: a container beside it is made, and by whoever made it all that is ours was looked at.
    fn dumps(&self) {
        self.fh.cli(&["backup", "now", "main"]);
    }

    fn until_as(&self, before: &BTreeSet<String>) {
        until("the engine to have what it had", secs(120), || {
            let now = self.objects();
            let other: Vec<_> = now.symmetric_difference(before).collect();
            match other.is_empty() {
                true => Ok(()),
                false => Err(format!("{other:#?}")),
            }
        });
    }

    fn doctor(&self, more: &[&str]) -> String {
        words(&self.fh.try_cli(&[&["doctor"], more].concat()))
    }

    /// Ends the daemon, does `meanwhile`, and starts another.
    fn without_daemon(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.fh.stop();
        meanwhile(self);
        self.fh.start();
    }
}

fn safe(fh: &Freehold) -> PathBuf {
    fh.data_dir().join("state.safe")
}

/// What becomes of the state while no daemon runs.
#[derive(Debug)]
enum Damage {
    Deleted,
    Torn,
    /// It is gone, and so is the end of the journal.
    Short,
}

#[test]
fn n7_a_box_whose_state_is_lost_goes_on_with_the_postgres_that_runs() {
    let mut on = Counting::new();
    let mut rows = ROWS;
    on.until_counted(rows);
    on.dumps();
    until_true("the dump's containers to go", secs(120), || {
        on.list(&["ps", "-aq"], "{{.ID}}").len() == 2
    });
    let (both, before) = (on.both(), on.objects());
    assert!(both.iter().all(|one| one.contains(" true ")), "{both:?}");

    for damage in [Damage::Deleted, Damage::Torn, Damage::Short] {
        println!("{damage:?}");
        let earlier = files(&safe(&on.fh), "snapshot-");
        let last = format!("last-{rows}");
        on.fh.cli(&["app", "create", &last]);
        on.without_daemon(|on| {
            match damage {
                Damage::Deleted => lose(&on.fh.data_dir()),
                Damage::Torn => tear(&on.fh.data_dir()),
                Damage::Short => {
                    lose(&on.fh.data_dir());
                    // One that came meanwhile does without the journal's end.
                    for snapshot in files(&safe(&on.fh), "snapshot-") {
                        if !earlier.contains(&snapshot) {
                            fs::remove_file(snapshot).unwrap();
                        }
                    }
                    spoil(
                        &safe(&on.fh),
                        "INSERT INTO apps (name",
                        &format!("'{last}'"),
                    );
                }
            }
            // It serves whoever has a connection, daemon or not.
            rows += 1;
            on.sql(&format!("INSERT INTO kept VALUES ({rows})"));
        });
        on.until_counted(rows);
        let told = on.doctor(&[]);
        assert!(told.contains("state was made anew"), "{told}");
        let is_short = matches!(damage, Damage::Short);
        assert_eq!(told.contains("What is missing"), is_short, "{told}");

        // It is known as it was: whose it is, with which app, and how to ask and to dump it.
        let listed = on.fh.json(&["db", "list"]);
        let all = listed.as_array().unwrap();
        assert_eq!(all.len(), 1, "{listed:#}");
        assert_eq!(
            (&all[0]["name"], &all[0]["state"]),
            (&json!("main"), &json!("ready"))
        );
        let shown = on.fh.json(&["db", "show", "main"]);
        let apps = shown["apps"].to_string();
        assert!(apps.contains(APP), "{shown:#}");
        on.dumps();
        assert_eq!(on.both(), both, "it was made or started anew");
        on.until_as(&before);

        // Nor is anything taken away, or made, once somebody has confirmed that all is there.
        on.doctor(&["--confirm"]);
        on.dumps();
        on.until_as(&before);
        assert_eq!(on.both(), both);
    }

    // The saboteur: the box knows nothing of the database any more, and the same looks find that it goes, once that is confirmed.
    on.without_daemon(|on| {
        lose(&on.fh.data_dir());
        for file in files(&safe(&on.fh), "") {
            fs::remove_file(file).unwrap();
        }
        for (file, bytes) in &on.of_old {
            fs::write(file, bytes).unwrap();
        }
    });
    assert_eq!(on.fh.json(&["db", "list"]), json!([]));
    assert_eq!(on.sql("SELECT count(*) FROM kept").trim(), rows.to_string());
    assert_eq!((on.both(), on.objects()), (both, before.clone()));
    // Nor has what is new a number of what is forgotten: it would take its place.
    on.fh.cli(&["app", "create", "new"]);
    on.fh
        .cli(&["deploy", &folder(&on.fh, "new", &NEW), "--app", "new"]);
    let forgotten = on.objects();
    let gone: Vec<_> = before.difference(&forgotten).collect();
    assert!(gone.is_empty(), "{gone:#?}");
    on.doctor(&["--confirm"]);
    until("the containers to go", secs(180), || {
        let left = on.both();
        let gone = left.iter().all(String::is_empty);
        gone.then_some(()).ok_or_else(|| format!("{left:?}"))
    });
    // What was stored stays all the same.
    let stays = |objects: &BTreeSet<String>| -> Vec<String> {
        let data = objects.iter().filter(|object| object.ends_with("-data"));
        data.cloned().collect()
    };
    assert_eq!(stays(&before).len(), 1, "{before:#?}");
    assert_eq!(stays(&on.objects()), stays(&before));
}
