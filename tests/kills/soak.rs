//! Kills at random: people change things under a light load, the daemon is killed around each change, and after every
//! start all that was ever acknowledged must be there.
//!
//! Everything of a round follows from the seed and its number, so that a run is played again by the seed that it prints:
//! `FREEHOLD_SEED=… FREEHOLD_KILLS=300`. Engines and clocks are not, so that a fault may take several runs to come back.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ledger::{Ledger, NONE};
use crate::place::{APP, Place};
use crate::support::census::Census;
use crate::support::freehold::words;
use crate::support::process::signal;
use crate::support::until::{secs, until};

/// After how many kills the box is left alone until it is calm, and looked through.
const CALM_EVERY: u64 = 10;

/// Changes whose outcome is more than one value.
const DEPLOY: &str = "deploy";
const SIDE_DEPLOY: &str = "deploy of another app";
const ROLLBACK: &str = "rollback";

/// A change, and what is so once it is acknowledged.
struct Change {
    verb: Vec<String>,
    what: String,
    value: String,
}

/// When the daemon dies.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// As soon as the client has read its answer.
    AtTheAnswer,
    /// So long after the client was started, whatever it has heard.
    After(Duration),
    /// Then it stands still, and so much later it dies.
    Frozen(Duration, Duration),
}

/// splitmix64: every round draws its own.
struct Dice(u64);

impl Dice {
    fn of(seed: u64, round: u64) -> Self {
        let mut dice = Self(seed ^ round.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        dice.roll();
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, many: u64) -> u64 {
        self.roll() % many
    }
}

fn blow(dice: &mut Dice) -> Blow {
    match dice.below(4) {
        0 | 1 => Blow::AtTheAnswer,
        2 => Blow::After(Duration::from_millis(dice.below(1_500))),
        _ => Blow::Frozen(
            Duration::from_millis(dice.below(300)),
            Duration::from_millis(dice.below(300)),
        ),
    }
}

fn change(p: &Place, dice: &mut Dice, round: u64) -> Change {
    let words = |verb: &[&str]| verb.iter().map(|w| (*w).to_owned()).collect();
    let of = |verb: &[&str], what: &str, value: &str| Change {
        verb: words(verb),
        what: what.to_owned(),
        value: value.to_owned(),
    };
    let number = dice.below(4);
    let host = format!("more{number}.localhost");
    let side = format!("side{number}");
    match dice.below(16) {
        0..=2 => {
            let pair = format!("KEY{number}=r{round}");
            let set = ["env", APP, "set", &pair, "--detach"];
            of(&set, &format!("env KEY{number}"), &format!("r{round}"))
        }
        3 => {
            let name = format!("KEY{number}");
            let unset = ["env", APP, "unset", &name, "--yes", "--detach"];
            of(&unset, &format!("env {name}"), NONE)
        }
        4 | 5 => {
            let replicas = (dice.below(3) + 1).to_string();
            let scale = ["scale", APP, &format!("web={replicas}")];
            of(&scale, "replicas", &replicas)
        }
        6 | 7 => of(
            &["domain", "add", APP, &host],
            &format!("domain {host}"),
            "there",
        ),
        8 => {
            let rm = ["domain", "rm", APP, &host, "--yes"];
            of(&rm, &format!("domain {host}"), NONE)
        }
        9 => of(&["app", "create", &side], &format!("app {side}"), "there"),
        10 => of(&["app", "rm", &side, "--yes"], &format!("app {side}"), NONE),
        11 => {
            let pages = p.pages(&format!("r{round}")).display().to_string();
            let deploy = ["deploy", &pages, "--app", &side, "--detach", "--json"];
            of(&deploy, SIDE_DEPLOY, "")
        }
        12 => of(&["rollback", APP], ROLLBACK, ""),
        _ => {
            let text = format!("r{round}");
            let folder = p.folder(&text).display().to_string();
            let deploy = ["deploy", &folder, "--app", APP, "--detach", "--json"];
            // Its number is in its answer.
            of(&deploy, DEPLOY, &text)
        }
    }
}

/// All that a ledger speaks of, as the box tells it now.
fn told(p: &Place) -> BTreeMap<String, String> {
    let mut now = BTreeMap::new();
    let there = "there".to_owned();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |told: Value| told.as_array().unwrap().clone();
    for one in list(p.told(&["env", APP, "--values"])) {
        now.insert(format!("env {}", text(&one["name"])), text(&one["value"]));
    }
    let app = p.told(&["app", "show", APP]);
    if let Some(replicas) = app["scale"]["web"]["min"].as_i64() {
        now.insert("replicas".to_owned(), replicas.to_string());
    }
    for domain in app["domains"].as_array().unwrap() {
        now.insert(format!("domain {}", text(domain)), there.clone());
    }
    for app in list(p.told(&["app", "list"])) {
        if app["state"] != "being removed" {
            now.insert(format!("app {}", text(&app["name"])), there.clone());
        }
    }
    for deploy in p.deploys() {
        now.insert(format!("deploy {}", deploy["id"]), there.clone());
    }
    now
}

/// Ends the daemon as the round has it. The client is not waited for longer than that takes.
fn strike(p: &Place, client: &mut Child, blow: Blow) {
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
    p.fh.kill();
}

/// How it went.
#[derive(Debug, Default)]
pub struct Report {
    pub kills: u64,
    pub ledger: Ledger,
    /// What is to be seen once all work is done.
    at_rest: Ledger,
    pub answered: usize,
    pub cut: usize,
}

impl Report {
    /// Writes down what the client heard.
    fn note(&mut self, change: &Change, good: bool, said: &[u8]) {
        match (change.what.as_str(), good) {
            (DEPLOY, true) => {
                let queued: Value = serde_json::from_slice(said).unwrap();
                let deploy = format!("deploy {}", queued["deploy"]);
                self.ledger.acknowledged(&deploy, "there");
                self.at_rest.acknowledged("page", &change.value);
            }
            (DEPLOY, false) => {
                self.ledger.unanswered += 1;
                self.at_rest.unanswered("page", &change.value);
            }
            // Which release it goes back to follows from what was live.
            (ROLLBACK, _) => {
                self.at_rest.forget("page");
                self.ledger.count(good);
            }
            (SIDE_DEPLOY, _) => self.ledger.count(good),
            (what, true) => self.ledger.acknowledged(what, &change.value),
            (what, false) => self.ledger.unanswered(what, &change.value),
        }
    }
}

/// Rounds `from` to `from + kills` of `seed`.
///
/// # Errors
/// What was lost, or left over, and in which round.
pub fn run(p: &Place, seed: u64, from: u64, kills: u64) -> Result<Report, String> {
    let mut report = Report::default();
    let at_first = p.census();
    let bystander = p.bystander();
    for round in from..from + kills {
        let in_round = |why: String| format!("FREEHOLD_SEED={seed}, round {round}: {why}");
        let mut dice = Dice::of(seed, round);
        let (change, blow) = (change(p, &mut dice, round), blow(&mut dice));
        println!("{round}: {}", change.verb.join(" "));
        let verb: Vec<&str> = change.verb.iter().map(String::as_str).collect();
        let mut client =
            p.fh.command(&verb)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        strike(p, &mut client, blow);
        let out = client.wait_with_output().unwrap();
        report.note(&change, out.status.success(), &out.stdout);
        report.kills += 1;
        p.fh.wait_until_up();
        report.ledger.hold(&told(p)).map_err(in_round)?;
        if (round + 1) % CALM_EVERY == 0 || round + 1 == from + kills {
            calm(p, &mut report, &at_first).map_err(in_round)?;
        }
    }
    let seen = bystander.leaves();
    if !seen.wrong.is_empty() {
        let wrong = seen.wrong;
        return Err(format!("FREEHOLD_SEED={seed}: visitors got {wrong:#?}"));
    }
    (report.answered, report.cut) = (seen.answered, seen.cut);
    Ok(report)
}

/// Waits until all work is done, and holds the engine, the files and the app's own page against what was told.
fn calm(p: &Place, report: &mut Report, at_first: &Census) -> Result<(), String> {
    let begun = Instant::now();
    while let Err(why) = at_rest(p, report, at_first) {
        if begun.elapsed() > secs(180) {
            return Err(format!("it does not come to rest: {why}"));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    // Old deploys are trimmed by and by.
    report.ledger.forget("deploy ");
    Ok(())
}

fn at_rest(p: &Place, report: &mut Report, at_first: &Census) -> Result<(), String> {
    let newest = p.deploys().first().cloned().unwrap_or_default();
    if newest["settled"] != true || newest["state"] == "watching" {
        return Err(format!("the newest deploy is {newest}"));
    }
    let census = p.census();
    let replicas = census.count("container replica app:1 running");
    let wanted = report.ledger.value("replicas").unwrap_or("1");
    if replicas.to_string() != wanted {
        return Err(format!("{replicas} of {wanted} replicas run"));
    }
    // Two releases are kept, and have images; folders belong to apps that are there.
    let images = census.count("image ");
    if images > 2 {
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
    let mut left = census.difference(at_first);
    left.retain(|line| {
        let of_app = line
            .split_once(" file static/")
            .and_then(|(_, rest)| rest.split_once('/'));
        let about = line.contains("container replica app:1 running") || line.contains(" image fh-");
        !about && !of_app.is_some_and(|(id, _)| is_app(id))
    });
    if !left.is_empty() {
        return Err(format!("left over: {left:#?}"));
    }
    let keys = "echo $KEY0,$KEY1,$KEY2,$KEY3";
    let inside = p.fh.try_cli(&["exec", APP, "--", "sh", "-c", keys]);
    let value = |n| match report.ledger.value(&format!("env KEY{n}")) {
        Some(NONE) | None => String::new(),
        Some(value) => value.to_owned(),
    };
    let values: Vec<String> = (0..4).map(value).collect();
    if words(&inside) != values.join(",") {
        let inside = words(&inside);
        return Err(format!("a replica has {inside} and was to have {values:?}"));
    }
    let page = p.page();
    let text = page.split(' ').nth(1).unwrap_or_default().to_owned();
    let now = BTreeMap::from([("page".to_owned(), text)]);
    report.at_rest.hold(&now)
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(otherwise, |text| text.parse().unwrap())
}

/// For `tests/soak`.
#[test]
#[ignore = "takes twenty minutes: tests/soak runs it"]
fn n5_soak_kills_lose_nothing_that_was_acknowledged() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number("FREEHOLD_SEED", clock.unwrap().as_secs());
    let (from, kills) = (
        number("FREEHOLD_KILLS_FROM", 0),
        number("FREEHOLD_KILLS", 300),
    );
    println!("FREEHOLD_SEED={seed} FREEHOLD_KILLS_FROM={from} FREEHOLD_KILLS={kills}");
    let begun = Instant::now();
    let p = Place::with_app("first");
    let report = run(&p, seed, from, kills).unwrap_or_else(|lost| panic!("{lost}"));
    println!(
        "{} kills in {} s: {} changes acknowledged, {} not answered, 0 lost; visitors were answered {} times and cut {} times",
        report.kills,
        begun.elapsed().as_secs(),
        report.ledger.acknowledged,
        report.ledger.unanswered,
        report.answered,
        report.cut,
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
        let sets = change(&p, &mut dice, 0).verb.contains(&"set".to_owned());
        sets && matches!(blow(&mut dice), Blow::AtTheAnswer)
    };
    let seed = (0..1_000).find(is_one).unwrap();
    // A machine may stand still between the answer and the kill for longer than the saboteur does.
    let lost = (0..3).find_map(|_| run(&p, seed, 0, 1).err());
    let lost = lost.expect("three kills found no change that was lost");
    assert!(lost.contains("was to be"), "{lost}");
}
