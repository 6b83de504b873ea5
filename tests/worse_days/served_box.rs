//! A box with an engine, a Postgres and an app that eats memory when it is told to.

use std::path::Path;
use std::process::Command;

use crate::support::edge::Edge;
use crate::support::freehold::Freehold;
use crate::support::process::run;
use crate::support::until::{secs, until};

pub const APP: &str = "shop";
const SETTINGS: &str = "[processes.web]\nport = 8000\nhealth = \"/\"\n";
pub const SERVER: &str = r#"
import http.server, os
held = []
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/eat/"):
            held.append(b"x" * (int(self.path[5:]) << 20))
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"fine")
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Answer).serve_forever()
"#;

pub struct ServedBox {
    pub fh: Freehold,
    edge: Edge,
}

impl ServedBox {
    /// One that runs, with the app live.
    pub fn start(more: &str) -> Self {
        let mut fh = Freehold::new();
        fh.configure(more);
        fh.start();
        fh.cli(&["app", "create", APP]);
        fh.cli(&["domain", "add", APP, "shop.localhost"]);
        let dockerfile =
            "FROM python:3.13-slim\nCOPY server.py /\nCMD [\"python\", \"-u\", \"/server.py\"]\n";
        let folder = folder(
            &fh,
            "app",
            &[("Dockerfile", dockerfile), ("server.py", SERVER)],
        );
        fh.cli(&["deploy", &folder, "--app", APP]);
        let status = fh.json(&["status"]);
        let root = Path::new(status["root_file"].as_str().unwrap()).to_owned();
        let edge = fh.edge(&root);
        let this = Self { fh, edge };
        this.until_served();
        this
    }

    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Asks the app; what went wrong.
    pub fn ask(&self, path: &str) -> Result<(), String> {
        let answer = self.edge.get(&format!("https://shop.localhost{path}"));
        let answer = answer.send()?;
        match (answer.status, answer.text().as_str()) {
            (200, "fine") => Ok(()),
            _ => Err(format!("{}: {}", answer.status, answer.text())),
        }
    }

    pub fn until_served(&self) {
        until("the app to answer", secs(60), || self.ask("/"));
    }

    /// Process ids of the containers of a kind: their first processes.
    pub fn pids(&self, kind: &str) -> Vec<u32> {
        let id = self.fh.installation();
        let mut list = Command::new("docker");
        list.args([
            "ps",
            "-q",
            "--filter",
            &format!("label=freehold.installation={id}"),
        ]);
        let containers = run(list.args(["--filter", &format!("label=freehold.kind={kind}")]));
        let mut inspect = Command::new("docker");
        inspect.args(["inspect", "--format", "{{.State.Pid}}"]);
        let pids = run(inspect.args(containers.split_whitespace()));
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Sentences of the app's events.
    pub fn events(&self) -> Vec<String> {
        let all = self.fh.json(&["events", APP]);
        let all = all.as_array().unwrap().iter();
        all.filter_map(|event| Some(event["message"].as_str()?.to_owned()))
            .collect()
    }
}

/// Writes a folder that can be deployed; gives its path.
pub fn folder(fh: &Freehold, name: &str, files: &[(&str, &str)]) -> String {
    let folder = fh.path("folders").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in [("freehold.toml", SETTINGS)].iter().chain(files) {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder.display().to_string()
}
