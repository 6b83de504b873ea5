//! Kills at random: people change things under load, the daemon is killed around each change, and after every start all
//! that was ever acknowledged must be there. `tests/soak` has the long form, `tests/run` the same of a few kills.
//!
//! Everything of a round follows from the seed and its number (`changes`), so that a run is played again by the seed that it
//! prints: `FREEHOLD_SEED=… FREEHOLD_KILLS=300`. Engines and clocks are not, so that a fault may take several runs to come
//! back.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::changes::{
    BACKUP, Blow, Change, DATABASE, DEPLOY, Dice, QUIET, RESTORE, ROLLBACK, SIDE_DEPLOY, blow,
    change, told,
};
use crate::ledger::{Ledger, NONE};
use crate::place::{APP, Place, URL};
use crate::releases::{LIVE, all_at_the_side, at_the_side, image_of, is_well, text_of};
use crate::support::acme::Acme;
use crate::support::census::Census;
use crate::support::commit;
use crate::support::freehold::{Freehold, words};
use crate::support::load::{self, Load};
use crate::support::process::signal;
use crate::support::until::{secs, until};

/// After how many kills the box is left alone until it is calm, and looked through.
const CALM_EVERY: u64 = 10;
/// Requests a second of the visitors.
const RATE: u32 = 40;
/// A kill cuts what was under way, and a few that take a connection that was kept and do not see yet that it is gone. What
/// comes later waits in the sockets, which outlive the daemon: those that come in the second of a restart are far more.
const KEPT: usize = RATE as usize / 4;
/// What lies in the database, and must lie there after each restore.
const ROWS: &str = "rows: 100";

/// Ends the daemon as the round has it; gives how many requests that could cut. The client is not waited for longer than that takes.
fn strike(p: &Place, client: &mut Child, blow: Blow, visitors: &Load) -> usize {
    let pid = p.fh.pid();
    let begun = Instant::now();
    match blow {
        Blow::AtTheAnswer => until("the client to end", secs(60), || {
            match client.try_wait().unwrap() {
                Some(_) => Ok(()),
                None => Err("it runs".to_owned()),
            }
        }),
        Blow::After(time) => std::thread::sleep(time),
        Blow::Frozen(time, stands) => {
            std::thread::sleep(time);
            signal(pid, "STOP");
            std::thread::sleep(stands);
        }
    }
    println!("    {blow:?}, {} ms in", begun.elapsed().as_millis());
    let (under_way, before) = (visitors.under_way(), visitors.sent());
    signal(pid, "KILL");
    let sent = visitors.sent() - before;
    until("a new daemon", secs(60), || match p.fh.pid() {
        old if old == pid => Err("the old one is there".to_owned()),
        _ => Ok(()),
    });
    under_way + sent + KEPT
}

/// How it went.
#[derive(Debug, Default)]
pub struct Report {
    pub kills: u64,
    pub ledger: Ledger,
    /// What is to be seen once all work is done.
    at_rest: Ledger,
    pub load: load::Report,
    /// How many requests the kills could cut.
    could_cut: usize,
}

impl Report {
    /// Writes down what the client heard; the daemon answers again.
    pub fn note(&mut self, p: &Place, change: &Change, good: bool, said: &[u8]) {
        // Another release may be live after these, and was to be: which it is, is known of an acknowledged rollback.
        if [DEPLOY, ROLLBACK].contains(&change.what.as_str()) {
            self.ledger.forget(LIVE);
        }
        // Its deploys go with an app, whether or not its removal was acknowledged.
        if let (Some(app), NONE) = (change.what.strip_prefix("app "), change.value.as_str()) {
            self.ledger.forget(&format!("deploy of {app} "));
        }
        match (change.what.as_str(), good) {
            (DEPLOY, true) => {
                let queued: Value = serde_json::from_slice(said).unwrap();
                let deploy = format!("deploy {}", queued["deploy"]);
                self.ledger.acknowledged(&deploy, "there");
                self.at_rest.acknowledged("page", &change.value);
            }
            (DEPLOY, false) => {
                self.ledger.unanswered += 1;
                // What nobody knows may be anything else than this as well.
                if self.at_rest.value("page").is_some() {
                    self.at_rest.unanswered("page", &change.value);
                }
            }
            // It is acknowledged at its end: its release is live then, and is so for as long as nobody asks for another.
            (ROLLBACK, true) => {
                let ended: Value = serde_json::from_slice(said).unwrap();
                let deploy = format!("deploy {}", ended["id"]);
                self.ledger.acknowledged(&deploy, "there");
                let image = image_of(p, &ended["release"]);
                self.at_rest.known("page", &text_of(&image));
                self.ledger.known(LIVE, &image);
            }
            // Whether it was heard or not, and whether it was done or went wrong: a deploy that was on its way may have been
            // cancelled for it.
            (ROLLBACK, false) => {
                self.at_rest.forget("page");
                self.ledger.count(false);
            }
            (SIDE_DEPLOY, true) => {
                let queued: Value = serde_json::from_slice(said).unwrap();
                let deploy = at_the_side(&change.value, &queued["deploy"]);
                self.ledger.acknowledged(&deploy, "there");
            }
            (SIDE_DEPLOY | BACKUP | RESTORE, false) => self.ledger.count(false),
            (BACKUP, true) => {
                let made: Value = serde_json::from_slice(said).unwrap();
                for one in made.as_array().unwrap() {
                    let backup = format!("backup {}", one["id"]);
                    self.ledger.acknowledged(&backup, "there");
                }
            }
            (RESTORE, true) => {
                let asked: Value = serde_json::from_slice(said).unwrap();
                let restore = format!("restore {}", asked["id"]);
                self.ledger.acknowledged(&restore, "there");
            }
            (what, true) => self.ledger.acknowledged(what, &change.value),
            (what, false) => self.ledger.unanswered(what, &change.value),
        }
    }
}

/// Rounds `from` to `from + kills` of `seed`.
///
/// # Errors
/// What was lost, or left over, and in which round.
pub fn run(p: &Place, seed: u64, from: u64, kills: u64, report: &mut Report) -> Result<(), String> {
    let at_first = p.census();
    // Its own copy: the daemon writes the file anew at each start.
    let roots = p.fh.path("roots.pem");
    std::fs::copy(p.fh.path("run").join("root.pem"), &roots).unwrap();
    report.at_rest.known("page", &text_served(p));
    let visitors = Load::start(&p.fh.edge(&roots), URL, RATE, |page| {
        page.starts_with("page ")
    });
    let lost = rounds(p, seed, from..from + kills, report, (&at_first, &visitors)).err();
    report.load = visitors.finish();
    lost.map_or(Ok(()), Err)?;
    let wrong = report.wrong();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("FREEHOLD_SEED={seed}: visitors got {wrong:#?}")),
    }
}

fn rounds(
    p: &Place,
    seed: u64,
    rounds: std::ops::Range<u64>,
    report: &mut Report,
    (at_first, visitors): (&Census, &Load),
) -> Result<(), String> {
    let last = rounds.end - 1;
    for round in rounds {
        let in_round = |why: String| format!("FREEHOLD_SEED={seed}, round {round}: {why}");
        let mut dice = Dice::of(seed, round);
        let (change, blow) = (change(p, &mut dice, round), blow(&mut dice));
        let verb = change.filled(p);
        println!("{round}: {}", verb.join(" "));
        let verb: Vec<&str> = verb.iter().map(String::as_str).collect();
        let mut client =
            p.fh.command(&verb)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        report.could_cut += strike(p, &mut client, blow, visitors);
        let out = client.wait_with_output().unwrap();
        if !out.status.success() {
            println!("    {}", words(&out).lines().next().unwrap_or_default());
        }
        report.kills += 1;
        p.fh.wait_until_up();
        report.note(p, &change, out.status.success(), &out.stdout);
        report.ledger.hold(&told(p)).map_err(in_round)?;
        if (round + 1) % CALM_EVERY == 0 || round == last {
            calm(p, report, at_first).map_err(in_round)?;
        }
    }
    Ok(())
}

/// Waits until all work is done, and holds the engine, the files and the app's own page against what was told.
fn calm(p: &Place, report: &mut Report, at_first: &Census) -> Result<(), String> {
    let begun = Instant::now();
    while let Err(why) = at_rest(p, report, at_first) {
        if begun.elapsed() > secs(300) {
            return Err(format!("it does not come to rest: {why}"));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    // Old deploys are trimmed by and by.
    report.ledger.forget("deploy ");
    servers(p)
}

/// Holds the servers against the rows: the database that was brought back so often is whole, nothing half done lies beside
/// it, and each backup that is stored has its file and each file its backup.
fn servers(p: &Place) -> Result<(), String> {
    if !p.told(&["db", "list"]).to_string().contains(DATABASE) {
        return Ok(());
    }
    // What a restore keeps until somebody says that all is well.
    for restore in p
        .told(&["backup", "restores", DATABASE])
        .as_array()
        .unwrap()
    {
        if restore["state"] == "done" && restore["confirmed_ms"].is_null() {
            p.fh.cli(&["backup", "confirm", &restore["id"].to_string(), "--yes"]);
        }
    }
    let said = p.psql(QUIET, "SELECT 'rows: ' || count(*) FROM kept;");
    if !said.contains(ROWS) {
        return Err(format!("the database has {said}, and was to have {ROWS}"));
    }
    let asked = "SELECT 'part ' || datname FROM pg_database WHERE datname ~ '_(restore|before)_';";
    let said = p.psql("postgres", asked);
    if said.contains("part ") {
        return Err(format!("left on the server: {said}"));
    }
    let rows = p.told(&["backup", "list", "--limit", "100"]);
    let stored = |b: &&Value| b["state"] == "stored" || b["state"] == "proven";
    let mut wanted: Vec<PathBuf> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(stored)
        .filter_map(|b| b["key"].as_str())
        // The dump, and what is said of it beside it.
        .flat_map(|key| [key.to_owned(), format!("{key}.json")])
        .map(|name| p.fh.data_dir().join("backups").join(name))
        .collect();
    wanted.sort();
    let mut there = files(&p.fh.data_dir().join("backups"));
    there.sort();
    match wanted == there {
        true => Ok(()),
        false => Err(format!(
            "by the rows {wanted:#?} are stored, and {there:#?} are there"
        )),
    }
}

fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let each = entries.map(|entry| entry.path());
    each.flat_map(|path| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    })
    .collect()
}

fn at_rest(p: &Place, report: &mut Report, at_first: &Census) -> Result<(), String> {
    let newest = p.deploys().first().cloned().unwrap_or_default();
    let domains = p.told(&["domain", "list", APP]);
    let mut domains = domains.as_array().unwrap().iter();
    if let Some(domain) = domains.find(|d| d["certificate"] != "valid") {
        return Err(format!("a domain has no certificate yet: {domain}"));
    }
    if newest["settled"] != true || newest["state"] == "watching" {
        return Err(format!("the newest deploy is {newest}"));
    }
    // Each comes to its end, and none to a bad one: whoever has heard that it is queued does not ask again.
    for (name, deploy) in all_at_the_side(p) {
        if deploy["settled"] != true || deploy["state"] == "watching" {
            return Err(format!("{name} is {deploy}"));
        }
        if report.ledger.value(&name).is_some() && !is_well(&deploy) {
            return Err(format!("{name} is {deploy}, and was to be live"));
        }
    }
    let census = p.census();
    let replicas = census.count("container replica app:1 running");
    let wanted = report.ledger.value("replicas").unwrap_or("1");
    if replicas.to_string() != wanted {
        return Err(format!("{replicas} of {wanted} replicas run"));
    }
    // Two releases are kept, and have images; what drained still when a deploy collected, and what a deploy that was cut off
    // has built, stay until the next one. Folders belong to apps that are there, and servers to databases.
    let images = census.count("image ");
    if images > 4 {
        return Err(format!("there are {images} images: {census:?}"));
    }
    let apps = p.told(&["app", "list"]);
    let is_app = |id: &str| {
        apps.as_array().unwrap().iter().any(|a| {
            a["id"]
                .as_i64()
                .is_some_and(|known| id.parse() == Ok(known))
        })
    };
    let databases = p.told(&["db", "list"]).as_array().unwrap().len();
    let servers = census.count("container database ");
    if usize::try_from(servers) != Ok(databases) {
        return Err(format!(
            "{servers} servers run for {databases} databases: {census:?}"
        ));
    }
    let mut left = census.difference(at_first);
    left.retain(|line| {
        let of_app = line
            .split_once(" file static/")
            .and_then(|(_, rest)| rest.split_once('/'));
        let about = [
            "container replica app:1 running",
            " image of a kept release",
            " container database ",
            " file backups/",
        ];
        let of_a_server = line.contains("-db-");
        !about.iter().any(|what| line.contains(what))
            && !of_a_server
            && !of_app.is_some_and(|(id, _)| is_app(id))
    });
    if !left.is_empty() {
        return Err(format!("left over: {left:#?}"));
    }
    // A rollback brings its release's variables, and not those of now.
    let deploys = p.deploys();
    let serving = deploys.iter().find(|deploy| deploy["success"] == true);
    let of_now = serving.is_some_and(|d| d["cause"] != "rollback" && d["cause"] != "return");
    let keys = "echo $KEY0,$KEY1,$KEY2,$KEY3";
    let inside = p.fh.try_cli(&["exec", APP, "--", "sh", "-c", keys]);
    let value = |n| match report.ledger.value(&format!("env KEY{n}")) {
        Some(NONE) | None => String::new(),
        Some(value) => value.to_owned(),
    };
    let values: Vec<String> = (0..4).map(value).collect();
    if of_now && words(&inside) != values.join(",") {
        let inside = words(&inside);
        return Err(format!("a replica has {inside} and was to have {values:?}"));
    }
    let text = text_served(p);
    let now = BTreeMap::from([("page".to_owned(), text.clone())]);
    report.at_rest.hold(&now)?;
    // Where that was not sure before: at rest it stays what it is until somebody asks for another.
    report.at_rest.known("page", &text);
    Ok(())
}

/// The text of the release that is served, by its page.
fn text_served(p: &Place) -> String {
    let page = p.page();
    page.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(otherwise, |text| text.parse().unwrap())
}

impl Report {
    /// Answers that are not the app's own.
    fn wrong(&self) -> BTreeMap<&String, &usize> {
        let wrong = |what: &str| what.starts_with("status ") || what.starts_with("wrong body");
        let failures = self.load.failures.iter();
        failures.filter(|(what, _)| wrong(what)).collect()
    }

    /// Requests that were broken off, or never answered.
    fn cut(&self) -> usize {
        let late = self.load.failures.get("late").copied().unwrap_or(0);
        let wrong: usize = self.wrong().into_values().sum();
        self.load.sent - self.load.good - late - wrong
    }

    /// For whoever makes tables of it: `target/rig/n5-kills.json`.
    fn save(&self, seed: u64, lost: usize, took: Duration) {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let told = json!({
            "commit": commit::tested(),
            "seed": seed,
            "kills": self.kills,
            "changes_acknowledged": self.ledger.acknowledged,
            "changes_lost": lost,
            "requests": self.load.sent,
            "cut": self.cut(),
            "seconds": took.as_secs(),
        });
        let folder = root.join("target/rig");
        std::fs::create_dir_all(&folder).unwrap();
        let text = serde_json::to_string_pretty(&told).unwrap();
        std::fs::write(folder.join("n5-kills.json"), text).unwrap();
    }
}

impl Place {
    /// A box on which everything is that [`change`] changes.
    fn full(acme: &Acme, fh: Freehold) -> Self {
        let settings = format!(
            "[acme]\nemail = \"ada@example.com\"\ndirectory = \"{}\"\nca_file = \"{}\"\nresolver = \"{}\"\n",
            acme.directory,
            acme.ca_file.display(),
            acme.resolver,
        );
        let p = Self::on(fh, &settings);
        p.add_app();
        p.fh.cli(&["app", "create", QUIET]);
        p.fh.cli(&["db", "create", DATABASE]);
        p.fh.cli(&["db", "attach", DATABASE, QUIET]);
        p.psql(
            QUIET,
            "CREATE TABLE kept AS SELECT generate_series(1, 100) AS n;",
        );
        p.fh.cli(&["backup", "now", DATABASE]);
        p.deploy(&p.folder("first"));
        p
    }

    /// What psql prints for `sql` in one of the database's parts.
    fn psql(&self, part: &str, sql: &str) -> String {
        let mut child = self
            .fh
            .command(&["db", "psql", DATABASE, "--part", part])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{sql}\n").as_bytes()).unwrap();
        drop(stdin);
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{sql}: {}", words(&out));
        words(&out)
    }
}

/// So many kills are few enough for `tests/run`.
const FEW: u64 = 6;
/// Their seed: an app at the side is made and deployed, the visitors' app is rolled back and deployed, and one of its variables
/// and a sentence of its domain are changed; all kinds of blows are among them.
const SEED_OF_FEW: u64 = 15_990;

/// The soak's own rounds, a few of them. How many requests they cut is only held where the machine does nothing else.
#[test]
fn n5_a_few_kills_at_random_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let fh = Freehold::new();
    let acme = Acme::start(&folder.path().join("acme"), fh.address, secs(90 * 86_400));
    let p = Place::full(&acme, fh);
    // So that there is something to go back to, whatever is live by then.
    p.deploy(&p.folder("second"));
    let drawn = |round| change(&p, &mut Dice::of(SEED_OF_FEW, round), round).what;
    let drawn: Vec<String> = (0..FEW).map(drawn).collect();
    for wanted in [DEPLOY, SIDE_DEPLOY, ROLLBACK] {
        assert!(
            drawn.iter().any(|what| what == wanted),
            "the seed draws {drawn:?}, and no {wanted}: choose another"
        );
    }
    let mut report = Report::default();
    let ended = run(&p, SEED_OF_FEW, 0, FEW, &mut report);
    println!(
        "{} kills: {} changes acknowledged, {} not answered; of {} requests {} were cut: {:#?}",
        report.kills,
        report.ledger.acknowledged,
        report.ledger.unanswered,
        report.load.sent,
        report.cut(),
        report.load.failures,
    );
    ended.unwrap_or_else(|lost| panic!("{lost}"));
    assert!(report.load.good > 0, "nobody was answered");
    assert!(report.ledger.acknowledged > 0, "nothing was acknowledged");
}

/// For `tests/soak`.
#[test]
#[ignore = "takes long: tests/soak runs it"]
fn n5_soak_kills_lose_nothing_that_was_acknowledged() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number("FREEHOLD_SEED", clock.unwrap().as_secs());
    let (from, kills) = (
        number("FREEHOLD_KILLS_FROM", 0),
        number("FREEHOLD_KILLS", 300),
    );
    println!("FREEHOLD_SEED={seed} FREEHOLD_KILLS_FROM={from} FREEHOLD_KILLS={kills}");
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let fh = Freehold::new();
    let acme = Acme::start(&folder.path().join("acme"), fh.address, secs(90 * 86_400));
    let p = Place::full(&acme, fh);
    let mut report = Report::default();
    let ended = run(&p, seed, from, kills, &mut report);
    // A fault of another kind loses none.
    let lost = ended
        .as_ref()
        .err()
        .map_or(0, |why| why.matches(", and was to be ").count());
    report.save(seed, lost, begun.elapsed());
    println!(
        "{} kills in {} s: {} changes acknowledged, {} not answered, {lost} lost; of {} requests {} were cut, of {} under way at the kills: {:#?}",
        report.kills,
        begun.elapsed().as_secs(),
        report.ledger.acknowledged,
        report.ledger.unanswered,
        report.load.sent,
        report.cut(),
        report.could_cut,
        report.load.failures,
    );
    ended.unwrap_or_else(|lost| panic!("{lost}"));
    assert!(report.load.good > 0, "nobody was answered");
    let (cut, could) = (report.cut(), report.could_cut);
    assert!(
        cut <= could,
        "{cut} requests were cut, of {could} that were under way"
    );
}

/// The saboteur answers before it writes: a few kills are enough to find it.
#[test]
fn n5_saboteur_a_change_that_is_acknowledged_before_it_is_written_is_found_lost() {
    let p = Place::with_app("first");
    p.fh.sabotage(Some("early-answer"));
    // The first round that sets a variable and kills at the answer.
    let is_one = |seed: &u64| {
        let mut dice = Dice::of(*seed, 0);
        let verb = change(&p, &mut dice, 0).verb;
        let sets = verb.first().is_some_and(|v| v == "env") && verb.contains(&"set".to_owned());
        sets && matches!(blow(&mut dice), Blow::AtTheAnswer)
    };
    let seed = (0..1_000).find(is_one).unwrap();
    // A machine may stand still between the answer and the kill for longer than the saboteur does.
    let lost = (0..3).find_map(|_| run(&p, seed, 0, 1, &mut Report::default()).err());
    let lost = lost.expect("three kills found no change that was lost");
    assert!(lost.contains("was to be"), "{lost}");
}
