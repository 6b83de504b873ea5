//! What people change while the daemon is killed, as the dice have it, and all of it as the box tells it afterwards.
//!
//! Everything of a round follows from the seed and its number. What takes an engine long (servers, backups, restores) comes
//! seldom.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::ledger::NONE;
use crate::place::{APP, HOST, Place};
use crate::releases::{LIVE, SIDE, all_at_the_side, live_image};

/// The app that has the database, and is never deployed.
pub const QUIET: &str = "quiet";
/// The server whose dumps are made and brought back.
pub const DATABASE: &str = "main";

/// Changes whose outcome is more than one value, or is named in their answers. The value of a [`SIDE_DEPLOY`] is its app.
pub const DEPLOY: &str = "deploy";
pub const SIDE_DEPLOY: &str = "deploy of another app";
pub const ROLLBACK: &str = "rollback";
pub const BACKUP: &str = "backup";
pub const RESTORE: &str = "restore";

/// What only the box knows when the change is made: an id, in its words.
const NEWEST_BACKUP: &str = "NEWEST-BACKUP";
const TOKEN_CALLED: &str = "TOKEN-CALLED-";

/// A change, and what is so once it is acknowledged.
pub struct Change {
    pub verb: Vec<String>,
    pub what: String,
    pub value: String,
}

/// When the daemon dies.
#[derive(Clone, Copy, Debug)]
pub enum Blow {
    /// As soon as the client has read its answer.
    AtTheAnswer,
    /// So long after the client was started, whatever it has heard.
    After(Duration),
    /// Then it stands still, and so much later it dies.
    Frozen(Duration, Duration),
}

/// splitmix64: every round draws its own.
pub struct Dice(u64);

impl Dice {
    pub fn of(seed: u64, round: u64) -> Self {
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

pub fn blow(dice: &mut Dice) -> Blow {
    match dice.below(4) {
        0 | 1 => Blow::AtTheAnswer,
        2 => Blow::After(Duration::from_millis(dice.below(1_500))),
        _ => Blow::Frozen(
            Duration::from_millis(dice.below(300)),
            Duration::from_millis(dice.below(300)),
        ),
    }
}

pub fn change(p: &Place, dice: &mut Dice, round: u64) -> Change {
    let of = |verb: &[&str], what: &str, value: &str| Change {
        verb: verb.iter().map(|w| (*w).to_owned()).collect(),
        what: what.to_owned(),
        value: value.to_owned(),
    };
    let number = dice.below(4);
    // Half of them have their certificates from outside, half of them the box's own.
    let end = if number.is_multiple_of(2) {
        "localhost"
    } else {
        "test"
    };
    let host = format!("more{number}.{end}");
    let side = format!("{SIDE}{number}");
    // A name may be given twice, and a removal is of one of the two: so each is given once.
    let token = format!("token{round}");
    let user = format!("ana{number}");
    let more = format!("more{}", number % 2);
    match dice.below(34) {
        0..=4 => {
            let pair = format!("KEY{number}=r{round}");
            let set = ["env", APP, "set", &pair, "--detach"];
            of(&set, &format!("env KEY{number}"), &format!("r{round}"))
        }
        5 => {
            let name = format!("KEY{number}");
            let unset = ["env", APP, "unset", &name, "--yes", "--detach"];
            of(&unset, &format!("env {name}"), NONE)
        }
        6 | 7 => {
            let replicas = (dice.below(3) + 1).to_string();
            let scale = ["scale", APP, &format!("web={replicas}")];
            of(&scale, "replicas", &replicas)
        }
        8..=10 => of(
            &["domain", "add", APP, &host],
            &format!("domain {host}"),
            "there",
        ),
        11 => {
            let rm = ["domain", "rm", APP, &host, "--yes"];
            of(&rm, &format!("domain {host}"), NONE)
        }
        12 => of(&["app", "create", &side], &format!("app {side}"), "there"),
        13 => of(&["app", "rm", &side, "--yes"], &format!("app {side}"), NONE),
        14 => {
            let pages = p.pages(&format!("r{round}")).display().to_string();
            let deploy = ["deploy", &pages, "--app", &side, "--detach", "--json"];
            of(&deploy, SIDE_DEPLOY, &side)
        }
        15 => of(&["rollback", APP, "--json"], ROLLBACK, ""),
        16 | 17 => of(
            &["token", "add", &token],
            &format!("token {token}"),
            "there",
        ),
        18 => {
            let all = p.told(&["token", "list"]);
            let mut names = list(&all).iter().filter_map(|row| row["name"].as_str());
            let token = names.find(|name| name.starts_with("token"));
            let token = token.unwrap_or("token");
            let id = format!("{TOKEN_CALLED}{token}");
            of(
                &["token", "rm", &id, "--yes"],
                &format!("token {token}"),
                NONE,
            )
        }
        19 | 20 => {
            let add = ["user", "add", &user, "--role", "viewer"];
            of(&add, &format!("user {user}"), "viewer")
        }
        21 => {
            let change = ["user", "change", &user, "--role", "admin"];
            of(&change, &format!("user {user}"), "admin")
        }
        22 => of(
            &["user", "rm", &user, "--yes"],
            &format!("user {user}"),
            NONE,
        ),
        23 | 24 => {
            // A sentence of the domain that does nothing to the load.
            let days = (round + 1).to_string();
            let set = ["domain", "set", APP, HOST, "--hsts", &days];
            of(&set, "hsts", &days)
        }
        25 | 26 => {
            let position = ["on", "off"][usize::from(dice.below(2) == 0)];
            let value = if position == "on" { "on" } else { NONE };
            of(&["maintenance", QUIET, position], "maintenance", value)
        }
        27 => {
            let create = ["db", "create", &more, "--memory", "128M", "--no-wait"];
            of(&create, &format!("database {more}"), "there")
        }
        28 => of(
            &["db", "rm", &more, "--yes"],
            &format!("database {more}"),
            NONE,
        ),
        29 => of(
            &["backup", "now", DATABASE, "--no-wait", "--json"],
            BACKUP,
            "",
        ),
        30 => {
            let restore = [
                "backup",
                "restore",
                NEWEST_BACKUP,
                "--yes",
                "--no-wait",
                "--json",
            ];
            of(&restore, RESTORE, "")
        }
        _ => {
            let text = format!("r{round}");
            let folder = p.folder(&text).display().to_string();
            let deploy = ["deploy", &folder, "--app", APP, "--detach", "--json"];
            // Its number is in its answer.
            of(&deploy, DEPLOY, &text)
        }
    }
}

impl Change {
    /// The verb with the ids that the box gave meanwhile; one that it does not know is refused.
    pub fn filled(&self, p: &Place) -> Vec<String> {
        let id_where = |told: Value, is: &dyn Fn(&Value) -> bool| {
            let found = list(&told).iter().find(|row| is(row)).cloned();
            found.map_or("0".to_owned(), |row| row["id"].to_string())
        };
        let word = |word: &String| match word.strip_prefix(TOKEN_CALLED) {
            Some(name) => id_where(p.told(&["token", "list"]), &|row| row["name"] == name),
            None if word == NEWEST_BACKUP => {
                let all = p.told(&["backup", "list", DATABASE]);
                id_where(all, &|row| {
                    row["state"] == "stored" || row["state"] == "proven"
                })
            }
            None => word.clone(),
        };
        self.verb.iter().map(word).collect()
    }
}

fn list(told: &Value) -> &[Value] {
    told.as_array().map_or(&[], Vec::as_slice)
}

/// All that a ledger speaks of, as the box tells it now.
pub fn told(p: &Place) -> BTreeMap<String, String> {
    let mut now = BTreeMap::new();
    let there = "there".to_owned();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for one in list(&p.told(&["env", APP, "--values"])) {
        now.insert(format!("env {}", text(&one["name"])), text(&one["value"]));
    }
    let app = p.told(&["app", "show", APP]);
    if let Some(replicas) = app["scale"]["web"]["min"].as_i64() {
        now.insert("replicas".to_owned(), replicas.to_string());
    }
    for domain in list(&app["domains"]) {
        now.insert(format!("domain {}", text(domain)), there.clone());
    }
    let apps = p.told(&["app", "list"]);
    for app in list(&apps) {
        if app["state"] != "being removed" {
            now.insert(format!("app {}", text(&app["name"])), there.clone());
        }
    }
    for deploy in p.deploys() {
        now.insert(format!("deploy {}", deploy["id"]), there.clone());
    }
    if let Some(image) = live_image(p) {
        now.insert(LIVE.to_owned(), image);
    }
    for (deploy, _) in all_at_the_side(p) {
        now.insert(deploy, there.clone());
    }
    for token in list(&p.told(&["token", "list"])) {
        now.insert(format!("token {}", text(&token["name"])), there.clone());
    }
    for user in list(&p.told(&["user", "list"])) {
        now.insert(format!("user {}", text(&user["name"])), text(&user["role"]));
    }
    let policies = p.told(&["domain", "show", APP, HOST]);
    let hsts = &policies["policies"]["hsts"];
    let days = hsts["max_age_days"].as_i64().or(hsts.as_i64());
    if let Some(days) = days {
        now.insert("hsts".to_owned(), days.to_string());
    }
    let quiet = list(&apps).iter().any(|app| app["name"] == QUIET);
    if quiet && p.told(&["app", "show", QUIET])["maintenance"] == true {
        now.insert("maintenance".to_owned(), "on".to_owned());
    }
    for database in list(&p.told(&["db", "list"])) {
        if database["state"] != "removing" {
            now.insert(
                format!("database {}", text(&database["name"])),
                there.clone(),
            );
        }
    }
    for backup in list(&p.told(&["backup", "list", "--limit", "100"])) {
        now.insert(format!("backup {}", backup["id"]), there.clone());
    }
    for restore in list(&p.told(&["backup", "restores"])) {
        now.insert(format!("restore {}", restore["id"]), there.clone());
    }
    now
}
