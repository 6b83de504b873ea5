//! A daemon whose settings are edited while it serves, with names that have certificates of a company's own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::app::App;
use crate::authority::Authority;
use crate::client::{Answer, Asked, Edge};
use crate::port::free_port;
use crate::quiet::Daemon;

/// How long anything may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names that every world has a certificate for.
const NAMES: [&str; 6] = [
    "example.com",
    "www.example.com",
    "other.example.com",
    "shop.example.com",
    "www.shop.example.com",
    "log.example.com",
];

pub struct World {
    pub daemon: Daemon,
    pub edge: Edge,
    pub app: App,
    folder: tempfile::TempDir,
}

impl World {
    /// With these settings, in which `TLS` is the certificate of all names and `APP` the address of the app.
    pub fn start(settings: &str) -> Self {
        Self::start_with(settings, |_| ())
    }

    /// The same, with files of the test in the folder that `FOLDER` is in the settings.
    pub fn start_with(settings: &str, files: impl FnOnce(&Path)) -> Self {
        Self::begin(settings, files, |https, settings| {
            Daemon::start_with(https, settings)
        })
    }

    /// The same with names of its own, as in /etc/hosts.
    pub fn start_knowing(hosts: &str, settings: &str) -> Self {
        Self::begin(
            settings,
            |_| (),
            |https, settings| Daemon::start_knowing(hosts, https, settings),
        )
    }

    fn begin(
        settings: &str,
        files: impl FnOnce(&Path),
        start: impl FnOnce(&str, &str) -> Daemon,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(&folder.path().join("company"));
        authority.issue(&NAMES);
        let served = folder.path().join("served");
        std::fs::create_dir(&served).unwrap();
        files(&served);
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&authority.root_file).unwrap() {
            roots.add(root.unwrap()).unwrap();
        }
        let port = free_port(std::net::Ipv4Addr::LOCALHOST);
        let app = App::http1();
        let settings = filled(settings, folder.path(), &app);
        let daemon = start(&format!("127.0.0.1:{port}"), &settings);
        Self {
            daemon,
            edge: Edge {
                address: ([127, 0, 0, 1], port).into(),
                trust: trusting(roots),
            },
            app,
            folder,
        }
    }

    /// Trusts the box's own root as well, for names that it issues for.
    pub fn trust_the_box(&mut self) {
        let status = self.json(&["status"]);
        let mut roots = rustls::RootCertStore::empty();
        let files = [
            self.folder.path().join("company").join("root.pem"),
            PathBuf::from(status["root_file"].as_str().unwrap()),
        ];
        for file in files {
            for root in CertificateDer::pem_file_iter(file).unwrap() {
                roots.add(root.unwrap()).unwrap();
            }
        }
        self.edge.trust = trusting(roots);
    }

    /// The settings are other ones; when that holds is for the test to wait for.
    pub fn edit(&self, settings: &str) {
        let settings = filled(settings, self.folder.path(), &self.app);
        self.daemon
            .configure(&self.edge.address.to_string(), &settings);
    }

    /// Files of the test.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    pub fn get<'a>(&'a self, host: &'a str, path: &'a str) -> Asked<'a> {
        self.edge.get(host, path)
    }

    /// Waits until a name has its certificate, and with it its route, without a request.
    #[track_caller]
    pub fn until_served(&self, host: &str) {
        until("a certificate", || {
            let connection = self.edge.connect(host, "127.0.0.1", b"");
            let shaken = connection.and_then(|mut connection| connection.shake_hands());
            shaken.map_err(|error| error.to_string())
        });
    }

    /// The first answer that is as it is to be.
    #[track_caller]
    pub fn until<'a>(
        &'a self,
        what: &str,
        asked: impl Fn() -> Asked<'a>,
        is_so: impl Fn(&Answer) -> bool,
    ) -> Answer {
        until(what, || match asked().send() {
            Ok(answer) if is_so(&answer) => Ok(answer),
            Ok(answer) => Err(answer.to_string()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The first answer with this status.
    #[track_caller]
    pub fn until_status<'a>(&'a self, asked: impl Fn() -> Asked<'a>, status: u16) -> Answer {
        self.until(&format!("a {status}"), asked, |a| a.status == status)
    }

    /// What a command prints, which has to succeed.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let (succeeded, said) = self.try_cli(arguments);
        assert!(succeeded, "freehold {}: {said}", arguments.join(" "));
        said
    }

    pub fn try_cli(&self, arguments: &[&str]) -> (bool, String) {
        self.try_cli_typing(arguments, "")
    }

    /// The same with this on its standard input.
    pub fn try_cli_typing(&self, arguments: &[&str], typed: &str) -> (bool, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_freehold"))
            .args(arguments)
            .env("FREEHOLD_SOCKET", self.daemon.socket("freehold.sock"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that does not read may be gone already.
        stdin.write_all(typed.as_bytes()).ok();
        drop(stdin);
        let out = child.wait_with_output().unwrap();
        let said = match out.status.success() {
            true => out.stdout,
            false => [out.stdout, out.stderr].concat(),
        };
        let said = String::from_utf8_lossy(&said).into_owned();
        (out.status.success(), said)
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let said = self.cli(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{arguments:?}: {e}\n{said}"))
    }
}

fn filled(settings: &str, folder: &Path, app: &App) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let tls = format!(
        "tls = {{ cert = \"{}\", key = \"{}\" }}",
        at("company/example.com.crt"),
        at("company/example.com.key")
    );
    settings
        .replace("TLS", &tls)
        .replace("APP", &app.address.to_string())
        .replace("FOLDER", &at("served"))
}

fn trusting(roots: rustls::RootCertStore) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Asks again until it is so.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(found) => return found,
            Err(last) if begun.elapsed() > PATIENCE => {
                panic!("waited {PATIENCE:?} for {what}; last: {last}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
