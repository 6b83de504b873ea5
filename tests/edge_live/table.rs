//! E6: every policy in each of the four ways it is said in: a `[[route]]` of the settings, the app's freehold.toml with a
//! deploy, the API, the command line. One daemon; each row is set, asked for over the edge, taken away and asked for again.
//!
//! The app is a folder of files, which needs no engine, and the settings' route serves the same folder, so that both are asked
//! the same. What only an app behind the edge shows (`strip_prefix`, `sticky`) is asked of a `[[route]]` here and of an
//! app's containers in tests/edge_engine/replicas.rs.

use std::fs;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use base64::Engine as _;

use crate::api;
use crate::figures::log;
use crate::policy_rows::{REFUSED, ROWS, Refused, Row};
use crate::world::{World, until};

const SETTINGS: &str = "[hold]\ntime = \"1s\"\n[deploy]\nwatch = \"0s\"\n\
    [limits]\napi_changes = 100000\napi_reads = 100000\n";
/// A public certificate for the app's names, which no ACME server is here to ask for: the company's own. They are the app's
/// before they stand here, as a name that stands here is no app's to take.
const CERTIFICATES: &str = "\
    [[route]]\nhost = \"shop.example.com\"\npath = \"/.certificate\"\nTLS\nstatic = \"FOLDER/site\"\n\
    [[route]]\nhost = \"www.shop.example.com\"\npath = \"/.certificate\"\nTLS\nstatic = \"FOLDER/site\"\n\
    [[route]]\nhost = \"log.example.com\"\nTLS\nupstream = \"http://APP\"\n";
const SITE: [(&str, &str); 4] = [
    ("index.html", "<h1>home</h1>"),
    ("secret.txt", "secret"),
    ("docs/index.html", "<h1>docs</h1>"),
    ("docs/a.txt", "a"),
];

/// How a policy is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Settings,
    AppFile,
    Api,
    CommandLine,
}

impl Way {
    pub const ALL: [Way; 4] = [Way::Settings, Way::AppFile, Way::Api, Way::CommandLine];

    /// The name that is asked; the same with `www.` is served as well.
    fn apex(self) -> &'static str {
        match self {
            Way::Settings => "example.com",
            _ => "shop.example.com",
        }
    }
}

/// A row, said in one way.
pub struct Said<'a> {
    world: &'a World,
    row: &'a Row,
    way: Way,
    /// For names and addresses that were not asked with before.
    counted: &'a AtomicU16,
}

impl Said<'_> {
    pub fn get<'a>(&'a self, path: &'a str) -> crate::client::Asked<'a> {
        self.world.get(self.way.apex(), path)
    }

    pub fn get_www<'a>(&'a self, path: &'a str) -> crate::client::Asked<'a> {
        let www = match self.way {
            Way::Settings => "www.example.com",
            _ => "www.shop.example.com",
        };
        self.world.get(www, path)
    }

    /// Another one each time.
    pub fn fresh(&self) -> u16 {
        self.counted.fetch_add(1, Relaxed)
    }

    /// How many of so many requests stand in the access log: what came after them does.
    pub fn logged_of(&self, count: usize) -> usize {
        let edge = &self.world.edge;
        let mut connection = edge.connect(self.way.apex(), "127.0.0.1", b"").unwrap();
        let ask = |_| self.get("/").over(&mut connection).unwrap();
        let ids: Vec<String> = (0..count)
            .map(ask)
            .map(|answer| answer.field("x-request-id"))
            .collect();
        let last = self.world.get("log.example.com", "/").send().unwrap();
        let last = last.field("x-request-id");
        until("a line of the access log", || {
            let lines = log(&self.world.daemon);
            let is_there = |id: &str| lines.iter().any(|line| line["id"] == id);
            match is_there(&last) {
                true => Ok(ids.iter().filter(|id| is_there(id)).count()),
                false => Err("not there yet".into()),
            }
        })
    }

    /// With what stands for names and files put in.
    fn filled(&self, text: &str) -> String {
        let folder = self.world.folder().display().to_string();
        text.replace("APEX", self.way.apex())
            .replace("FOLDER", &folder)
    }

    /// Says it.
    #[track_caller]
    fn set(&self) {
        let toml = self.filled(self.row.toml);
        match self.way {
            Way::Settings => self.route(&self.filled(self.row.settings.unwrap_or(&toml))),
            Way::AppFile => self.deploy(&toml),
            Way::Api => {
                let json: serde_json::Value = toml::from_str(&toml).unwrap();
                self.api("PUT", &json.to_string());
            }
            Way::CommandLine => {
                let options: Vec<String> = self.row.cli.iter().map(|o| self.filled(o)).collect();
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                for domain in self.domains() {
                    let start = ["domain", "set", "shop", &domain];
                    let all = [&start, &*options].concat();
                    let (well, said) = self.world.try_cli_typing(&all, self.row.typed);
                    assert!(well, "{all:?}: {said}");
                }
            }
        }
    }

    /// Unsays it.
    #[track_caller]
    fn take_away(&self) {
        match self.way {
            Way::Settings => self.route(""),
            Way::AppFile => self.deploy(""),
            Way::Api => self.api("DELETE", ""),
            Way::CommandLine => {
                for domain in self.domains() {
                    let key = self.row.toml.split(' ').next().unwrap();
                    self.world
                        .cli(&["domain", "set", "shop", &domain, "--reset", key]);
                }
            }
        }
    }

    /// The settings' two routes, and one that leads to an app, with these policies.
    fn route(&self, policies: &str) {
        let world = self.world;
        world.edit(&settings(policies, self.row.leads_to_an_app));
    }

    #[track_caller]
    fn deploy(&self, policies: &str) {
        let (well, said) = deployed(self.world, policies);
        assert!(well, "{policies}: {said}");
    }

    #[track_caller]
    fn api(&self, method: &str, body: &str) {
        for domain in self.domains() {
            let at = format!("/api/v1/apps/shop/domains/{domain}/policies");
            let answer = api::local(&self.world.daemon, method, &at, "", body);
            assert_eq!(answer.status, 200, "{method} {at}: {}", answer.body);
        }
    }

    fn domains(&self) -> [String; 2] {
        let apex = self.way.apex();
        [apex.to_owned(), format!("www.{apex}")]
    }

    #[track_caller]
    fn until(&self, what: &str, is_to_be: &str) {
        let wanted = self.filled(is_to_be);
        let (policy, way) = (self.row.policy, self.way);
        until(&format!("{policy} {what} by {way:?}: {wanted}"), || {
            let found = (self.row.ask)(self);
            (found == wanted).then_some(()).ok_or(found)
        });
    }
}

/// The settings with these policies for both names.
fn settings(policies: &str, leads_to_an_app: bool) -> String {
    let leads = match policies {
        _ if leads_to_an_app => "path = \"/api\"\nupstream = \"http://APP\"\n",
        // A folder of the row's own.
        own if own.starts_with("static") => "",
        _ => "static = \"FOLDER/site\"\n",
    };
    let route = |host: &str| format!("[[route]]\nhost = \"{host}\"\nTLS\n{leads}{policies}\n");
    let routes = [route("example.com"), route("www.example.com")];
    [SETTINGS, CERTIFICATES, &routes.concat()].concat()
}

/// A box where nothing is said yet, by nobody.
fn world() -> World {
    let world = World::start_with(SETTINGS, |served| {
        for root in ["site", "tree/dist"] {
            for (name, content) in SITE {
                let at = served.join(root).join(name);
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                fs::write(at, content).unwrap();
            }
            fs::write(served.join(root).join("long.txt"), "long ".repeat(2_000)).unwrap();
        }
        fs::write(served.join("page.html"), "<h1>Not here</h1>").unwrap();
    });
    world.cli(&["app", "create", "shop"]);
    for domain in ["shop.example.com", "www.shop.example.com"] {
        world.cli(&["domain", "add", "shop", domain]);
    }
    world.edit(&settings("", false));
    world.until_served("www.shop.example.com");
    world.until_status(|| world.get("log.example.com", "/"), 200);
    world
}

#[test]
fn e6_every_policy_holds_and_goes_by_settings_app_file_api_and_command_line() {
    let world = world();
    let counted = AtomicU16::new(256);
    let said = |row, way| Said {
        world: &world,
        row,
        way,
        counted: &counted,
    };
    said(&ROWS[0], Way::AppFile).deploy("");
    for way in Way::ALL {
        let begun = std::time::Instant::now();
        for row in ROWS.iter().filter(|row| row.is_asked_here(way)) {
            let said = said(row, way);
            said.set();
            said.until("holds", row.held);
            said.take_away();
            said.until("is gone", row.gone);
        }
        println!("{way:?}: {:?}", begun.elapsed());
    }
    world.edit(&settings("", false));
    world.until_status(|| world.get("example.com", "/"), 200);
    for refused in REFUSED {
        refused.is_so(&world);
    }
}

impl Refused {
    /// Says it, and finds the sentence; nothing else has changed.
    #[track_caller]
    fn is_so(&self, world: &World) {
        let (way, text) = (self.way, self.said.join(" "));
        let said = match way {
            Way::Settings => {
                world.edit(&format!(
                    "{}[[route]]\nhost = \"other.example.com\"\nTLS\n{text}\n",
                    settings("", false)
                ));
                until(self.words, || match world.cli(&["status"]) {
                    said if said.contains(self.words) => Ok(said),
                    said => Err(said),
                })
            }
            Way::AppFile => {
                let (well, said) = deployed(world, &text);
                assert!(!well, "{text} went live: {said}");
                said
            }
            Way::Api => {
                let json: serde_json::Value = toml::from_str(&text).unwrap();
                let at = "/api/v1/apps/shop/domains/shop.example.com/policies";
                let answer = api::local(&world.daemon, "PUT", at, "", &json.to_string());
                assert_eq!(answer.status, 422, "{text}: {}", answer.body);
                answer.json()["detail"].as_str().unwrap().to_owned()
            }
            Way::CommandLine => {
                let start = ["domain", "set", "shop", "shop.example.com"];
                let (well, said) = world.try_cli(&[&start, self.said].concat());
                assert!(!well, "{text}: {said}");
                said
            }
        };
        assert!(said.contains(self.words), "{way:?}, {text}: {said}");
        let own = world.json(&["domain", "show", "shop", "shop.example.com"]);
        assert_eq!(own["policies"], serde_json::json!({}), "{way:?}, {text}");
        assert_eq!(own["app_file"], serde_json::json!({}), "{way:?}, {text}");
        for host in ["example.com", "shop.example.com"] {
            let answer = world.get(host, "/").send().unwrap();
            assert_eq!(answer.text(), "<h1>home</h1>", "{way:?}, {text}: {answer}");
        }
    }
}

/// A deploy with these policies in freehold.toml: whether it went live, and what was said.
fn deployed(world: &World, policies: &str) -> (bool, String) {
    let tree = world.folder().join("tree");
    let file = format!("[build]\nstatic = \"dist\"\n[processes.web.route]\n{policies}\n");
    fs::write(tree.join("freehold.toml"), file).unwrap();
    world.try_cli(&["deploy", tree.to_str().unwrap(), "--app", "shop"])
}

/// Every key of the policies has a row, so that a new one does not come without.
#[test]
fn e6_every_policy_has_a_row() {
    let schema = schemars::schema_for!(freehold::base::policies::Policies);
    let keys = schema.as_value()["properties"].as_object().unwrap();
    for key in keys.keys() {
        let begins = |row: &&Row| row.toml.split(' ').next() == Some(key);
        assert!(ROWS.iter().any(|row| begins(&row)), "{key}");
    }
}

pub fn basic(both: &str) -> String {
    let both = base64::engine::general_purpose::STANDARD.encode(both);
    format!("Basic {both}")
}
