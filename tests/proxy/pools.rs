//! Pools beside real servers that close idle connections: Node after its 5 s, Python after 2 s, and one that does so although it
//! says that it keeps them for a minute.
//!
//! Bursts with pauses about as long as those limits, for FREEHOLD_SOAK_SECONDS (60). FREEHOLD_GUNICORN names a gunicorn
//! (tests/soak installs one); without it Python's own http.server stands in, with the same limit. What came of it is
//! written to target/pools.json. The same with connections that are used again whatever their age loses requests.
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use freehold::proxy::Limits;
use tokio::io::AsyncWriteExt as _;

use crate::app::{raw, read_head};
use crate::client::{Http1, get, post};
use crate::rig::{Rig, World, route, target, until};

const NODE: &str = r#"
const server = require("http").createServer((request, response) => {
  request.on("data", () => {}).on("end", () => response.end("ok"));
});
if (server.keepAliveTimeout !== 5000) throw new Error("Node's own limit is another now");
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;

/// With an argument it says that it keeps connections for longer than it does.
const PYTHON: &str = r#"
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 2
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        if len(sys.argv) > 1:
            self.send_header("Keep-Alive", "timeout=" + sys.argv[1])
        self.end_headers()
        self.wfile.write(b"ok")
    do_POST = do_GET
    def log_message(self, *_): pass
class Server(ThreadingHTTPServer):
    request_queue_size = 256
server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

const WSGI: &str = r#"
def app(environ, start_response):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"#;

/// Killed with the test.
struct Server(Child, SocketAddr);

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            println!("a server ended by itself: {error}");
        }
    }
}

/// Runs a program that prints its port.
fn printing_its_port(program: &str, arguments: &[&str]) -> Server {
    let mut command = Command::new(program);
    let mut child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap();
    Server(child, ([127, 0, 0, 1], port).into())
}

async fn python() -> Server {
    let Ok(gunicorn) = std::env::var("FREEHOLD_GUNICORN") else {
        return printing_its_port("python3", &["-c", PYTHON]);
    };
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join("served.py"), WSGI).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut command = Command::new(gunicorn);
    command
        .current_dir(folder)
        .args(["--log-level", "error", "--worker-class", "gthread"]);
    command.args([
        "--threads",
        "64",
        "--keep-alive",
        "2",
        "--bind",
        &address.to_string(),
    ]);
    let server = Server(command.arg("served:app").spawn().unwrap(), address);
    until("gunicorn listens", || {
        std::net::TcpStream::connect(address).is_ok()
    })
    .await;
    server
}

#[derive(Default)]
struct Seen {
    gets: usize,
    posts: usize,
    failed_gets: usize,
    /// After the first round of pauses, in which an app may teach its limit.
    failed_posts: usize,
    lessons: usize,
}

async fn bursts(rig: &Rig, host: &'static str, length: Duration) -> Seen {
    const PAUSES: [u64; 12] = [
        0, 1_900, 1_980, 2_000, 2_010, 2_100, 900, 4_900, 4_990, 5_005, 5_100, 1_450,
    ];
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(Http1::plain(rig).await);
    }
    let (began, mut seen) = (Instant::now(), Seen::default());
    for round in 0.. {
        for pause in PAUSES {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if began.elapsed() > length {
                return seen;
            }
            let mut asking = tokio::task::JoinSet::new();
            for (index, mut client) in clients.drain(..).enumerate() {
                asking.spawn(async move {
                    let (mut posts, mut failed) = ([0; 2], [0; 2]);
                    for step in 0..4 {
                        let is_post = usize::from((index + step) % 2 == 0);
                        let address = format!("http://{host}/");
                        let request = if is_post == 1 {
                            post(&address, "order")
                        } else {
                            get(&address)
                        };
                        let answer = client.ask(request).await;
                        posts[is_post] += 1;
                        failed[is_post] += usize::from(!answer.is_ok_and(|a| a.status == 200));
                    }
                    (client, posts, failed)
                });
            }
            while let Some(done) = asking.join_next().await {
                let (client, [gets, posts], [failed_gets, failed_posts]) = done.unwrap();
                clients.push(client);
                seen.gets += gets;
                seen.posts += posts;
                seen.failed_gets += failed_gets;
                *if round == 0 {
                    &mut seen.lessons
                } else {
                    &mut seen.failed_posts
                } += failed_posts;
            }
        }
    }
    seen
}

#[tokio::test]
#[ignore = "takes a minute, and ten in tests/soak; needs node and python3"]
async fn e5_pools_of_real_servers_lose_nothing_when_those_close() {
    let seconds = std::env::var("FREEHOLD_SOAK_SECONDS").map_or(60, |text| text.parse().unwrap());
    let (node, python) = (printing_its_port("node", &["-e", NODE]), python().await);
    let liar = printing_its_port("python3", &["-c", PYTHON, "60"]);
    let mut routes = [
        route("node.test", &[&target(node.1)]),
        route("python.test", &[&target(python.1)]),
        route("liar.test", &[&target(liar.1)]),
    ];
    for route in &mut routes {
        route.redirect_http = false;
    }
    let rig = Rig::start(World::of(routes));
    let length = Duration::from_secs(seconds);
    let (node, python, liar) = tokio::join!(
        bursts(&rig, "node.test", length),
        bursts(&rig, "python.test", length),
        bursts(&rig, "liar.test", length)
    );
    let found = [("node", node), ("python", python), ("liar", liar)];
    // What the saboteur's run finds is nobody's figure.
    if std::env::var_os("FREEHOLD_SABOTAGE").is_none() {
        write_down(seconds, &found);
    }
    for (name, seen) in found {
        println!(
            "{name}: {} GETs, {} failed; {} POSTs, {} failed, and {} while the limit was learnt",
            seen.gets, seen.failed_gets, seen.posts, seen.failed_posts, seen.lessons
        );
        assert!(seen.gets > 300 && seen.posts > 300, "{name}: too few");
        assert_eq!((seen.failed_gets, seen.failed_posts), (0, 0), "{name}");
    }
}

fn write_down(seconds: u64, found: &[(&str, Seen)]) {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short", "HEAD"]);
    let commit = git
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    let mut report =
        serde_json::json!({ "seconds": seconds, "commit": commit.unwrap_or_default() });
    report["python_is"] = match std::env::var_os("FREEHOLD_GUNICORN") {
        Some(_) => "gunicorn".into(),
        None => "http.server".into(),
    };
    for (name, seen) in found {
        report[name] = serde_json::json!({
            "gets": seen.gets, "failed_gets": seen.failed_gets, "posts": seen.posts,
            "failed_posts": seen.failed_posts, "failed_posts_while_learning": seen.lessons,
        });
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let text = serde_json::to_string_pretty(&report).unwrap();
    std::fs::write(folder.join("pools.json"), text).unwrap();
}

/// The saboteur: the test above, in a process of its own, with the pool's care for age and closings switched off.
#[cfg(feature = "crash-points")]
#[test]
#[ignore = "goes with the one above"]
fn e5_pools_that_use_old_connections_lose_requests() {
    let test = "pools::e5_pools_of_real_servers_lose_nothing_when_those_close";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", test])
        .env("FREEHOLD_SABOTAGE", "old-connections")
        .env("FREEHOLD_SOAK_SECONDS", "45");
    let out = command.output().unwrap();
    let text = [&out.stdout[..], &out.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(!out.status.success(), "nothing was lost: {text}");
    assert!(
        text.contains("left == right"),
        "it lost nothing, it broke: {text}"
    );
}

/// An app that keeps no connection, and closes each a moment after its answer without having said so: what was sent on it
/// meanwhile is lost. After two of them nothing that cannot be sent again is sent on what it has just answered on.
#[tokio::test]
async fn n3_an_app_that_closes_behind_each_answer_loses_few_posts() {
    let app = raw(|mut stream, _| async move {
        if read_head(&mut stream).await.is_some() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let limits = Limits {
        workers: Some(1),
        ..Limits::default()
    };
    let target = target(app.address);
    let rig = Rig::with_limits(World::of([route("tasks.test", &[&target])]), limits);
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let mut lost = 0;
    for _ in 0..40 {
        let answer = client.ask(post("https://tasks.test/", "")).await.unwrap();
        lost += usize::from(answer.status != 200);
    }
    // Two, and some more where the app comes to its close late; without it nearly all.
    assert!(lost <= 10, "{lost} of 40");
    // Whoever reads is answered, whatever it costs.
    for _ in 0..20 {
        let answer = client.ask(get("https://tasks.test/")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
}
