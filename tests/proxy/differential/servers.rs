//! Real app servers, each with a parser of its own: three of HTTP/1.1, two of HTTP/2 in the clear. All tell what they read,
//! a line a request, once it is whole.
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freehold::proxy::Target;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::port::free_port;
use crate::rig::{h2c_target, target};

/// Those of HTTP/1.1.
pub const HTTP1: [&str; 3] = ["node", "gunicorn", "puma"];
/// Those of HTTP/2: Node's, which is nghttp2 in C, and hyper's, which is h2.
pub const H2C: [&str; 2] = ["nghttp2", "hyper"];

/// An app server of its own process.
pub struct Server {
    pub name: &'static str,
    /// `None`: a task of the test's own.
    process: Option<Child>,
    pub address: SocketAddr,
    seen: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

impl Server {
    pub fn start(name: &'static str, folder: &Path) -> Server {
        if name == "hyper" {
            return hyper(folder);
        }
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proxy/servers");
        // Nobody else is given it in the seconds until the server listens.
        let port = free_port(Ipv4Addr::LOCALHOST);
        let listen = format!("127.0.0.1:{port}");
        let seen = folder.join(name);
        File::create(&seen).unwrap();
        let mut command = match name {
            "node" | "nghttp2" => {
                let mut command = Command::new("node");
                command
                    .arg(own.join(format!("{name}.js")))
                    .arg(port.to_string())
                    .arg(&seen);
                command
            }
            "gunicorn" => {
                let mut command = Command::new("/usr/bin/gunicorn");
                command.args(["--worker-class=gthread", "--threads=4", "--keep-alive=60"]);
                command
                    .arg("--log-level=critical")
                    .args(["--bind", &listen]);
                command.arg("--pythonpath").arg(&own).arg("wsgi:app");
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            _ => {
                let mut command = Command::new("/usr/bin/puma");
                command.args(["--quiet", "--environment=production", "--threads=4:4"]);
                command.args(["--bind", &format!("tcp://{listen}")]);
                command.arg(own.join("puma.ru"));
                command
            }
        };
        let process = command
            .env("SEEN", &seen)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; tests/rig/apt installs it"));
        Server {
            name,
            process: Some(process),
            address: listen.parse().unwrap(),
            seen,
        }
    }

    /// What the edge takes it for.
    pub fn target(&self) -> Arc<Target> {
        match self.name {
            "nghttp2" | "hyper" => h2c_target(self.address),
            _ => target(self.address),
        }
    }

    pub async fn ready(&self) {
        for _ in 0..1_200 {
            if TcpStream::connect(self.address).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} does not listen", self.name);
    }

    /// What it read whole since the last look.
    pub fn read(&self) -> Vec<String> {
        let text = fs::read(&self.seen).unwrap();
        File::create(&self.seen).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().map(str::to_owned).collect()
    }
}

/// On a task of the test, as it is a library and not a program.
fn hyper(folder: &Path) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = folder.join("hyper");
    File::create(&seen).unwrap();
    let log = seen.clone();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let log = log.clone();
            let service = service_fn(move |request| tell(log.clone(), request));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    Server {
        name: "hyper",
        process: None,
        address,
        seen,
    }
}

async fn tell(
    log: PathBuf,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query();
    let path = path.map_or("", |path| path.as_str()).to_owned();
    // What broke off is no request.
    let body = body.collect().await?.to_bytes();
    let line = format!("{} {path} {}\n", head.method, hex::encode(&body));
    let mut log = File::options().append(true).open(log).unwrap();
    log.write_all(line.as_bytes()).unwrap();
    Ok(Response::new(format!("seen {}", body.len()).into()))
}
