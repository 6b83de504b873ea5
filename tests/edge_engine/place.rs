//! A box with an app in containers that says what it saw.

use std::path::PathBuf;

use crate::support::edge::{Answer, Edge, Request};
use crate::support::freehold::Freehold;
use crate::support::until::{secs, until};

pub const HOST: &str = "shop.localhost";
/// An app that says what it saw and which replica it is, or answers as the query asks: `?status=500&bytes=20`.
const APP: &str = r#"
import http.server, os, socket, urllib.parse

class Seen(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        whole = 0
        while size := int(self.rfile.readline(), 16):
            whole += len(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def do_GET(self):
        length = self.body()
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        lines = [self.command + " " + self.path, "body: " + str(length), "replica: " + socket.gethostname()]
        lines += [name.lower() + ": " + value for name, value in self.headers.items()]
        body = ("\n".join(lines) + "\n" * 2000).encode()
        if "bytes" in query:
            body = b"x" * int(query["bytes"][0])
        self.send_response(int(query.get("status", ["404" if self.path.startswith("/missing") else "200"])[0]))
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Version", "7.1")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Seen).serve_forever()
"#;
const DOCKERFILE: &str =
    "FROM python:3.13-slim\nCOPY app.py .\nCMD [\"python\", \"-u\", \"app.py\"]\n";
pub const PROCESS: &str = "[processes.web]\nport = 8000\nhealth = \"/\"\n";

/// A running box with that app, and two names for it.
pub struct Place {
    pub fh: Freehold,
    pub edge: Edge,
}

impl Place {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With more settings.
    pub fn with(more: &str) -> Self {
        let mut fh = Freehold::new();
        fh.configure(&format!("[deploy]\nwatch = \"1s\"\n{more}"));
        fh.start();
        fh.cli(&["app", "create", "shop"]);
        fh.cli(&["domain", "add", "shop", HOST]);
        fh.cli(&["domain", "add", "shop", &format!("{HOST}/api")]);
        let status = fh.json(&["status"]);
        let edge = fh.edge(status["root_file"].as_str().unwrap().as_ref());
        Self { fh, edge }
    }

    fn tree(&self, name: &str, settings: &str) -> PathBuf {
        let tree = self.fh.path(name);
        std::fs::create_dir_all(&tree).unwrap();
        for (file, content) in [
            ("Dockerfile", DOCKERFILE),
            ("app.py", APP),
            ("freehold.toml", settings),
        ] {
            std::fs::write(tree.join(file), content).unwrap();
        }
        tree
    }

    pub fn deploy(&self, name: &str, settings: &str) {
        let tree = self.tree(name, settings).display().to_string();
        self.fh.cli(&["deploy", &tree, "--app", "shop"]);
    }

    pub fn get(&self, path: &str) -> Request {
        self.edge.get(&format!("https://{HOST}{path}"))
    }

    /// A request to the API, as the box's owner.
    pub fn api(&self, method: &str, path: &str) -> Request {
        let socket = self.fh.socket().display().to_string();
        let asked = self.edge.get(&format!("http://localhost/api/v1{path}"));
        asked.method(method).option(&["--unix-socket", &socket])
    }

    /// As one who may, counted by a key.
    pub fn ana(&self, path: &str, key: &str) -> Request {
        let asked = self.get(path).option(&["--user", "ana:hunter2-hunter2"]);
        asked.header("X-Api-Key", key)
    }

    pub fn until(
        &self,
        what: &str,
        ask: impl Fn() -> Request,
        is_so: impl Fn(&Answer) -> bool,
    ) -> Answer {
        until(what, secs(60), || match ask().send()? {
            answer if is_so(&answer) => Ok(answer),
            answer => Err(format!("{}: {}", answer.status, answer.text())),
        })
    }
}

pub fn saw(answer: &Answer, line: &str) -> bool {
    answer.text().lines().any(|known| known == line)
}
