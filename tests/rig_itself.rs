//! The servers around the box work by themselves, so that a failure of the
//! end-to-end test is a failure of Freehold.

mod support;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{
    acme::Acme, address, authority::Authority, browser, edge::Edge, git_host, process, registry,
    s3, until,
};

#[test]
fn a_working_copy_reaches_the_git_host_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let host = git_host::GitHost::start(dir.path(), &authority);
    let content = dir.path().join("content");
    std::fs::create_dir(&content).unwrap();
    std::fs::write(content.join("big"), vec![7_u8; 3 << 20]).unwrap();
    let copy = host.repository("tasks", &content);
    let commit = copy.push("Second");
    let seen = copy.git(&["ls-remote", &copy.url, "main"]);
    assert!(seen.starts_with(&commit), "{seen}");
}

#[test]
fn pebble_serves_its_directory_and_root() {
    let dir = tempfile::tempdir().unwrap();
    let acme = Acme::start(dir.path(), address::own_address(), until::secs(600));
    let root = dir.path().join("root.pem");
    acme.save_root(&root);
    assert!(
        std::fs::read_to_string(root)
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    acme.point("elsewhere.test", Ipv4Addr::new(127, 9, 9, 9));
}

#[test]
fn the_s3_server_comes_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut s3 = s3::S3::start(dir.path());
    s3.create_bucket("dumps");
    assert!(s3.objects("dumps").is_empty());
    s3.down();
    s3.up();
}

#[test]
fn the_registry_serves_an_image_for_its_password_only() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry::Registry::start(dir.path(), &Authority::new(dir.path()));
    let login = dir.path().join("login");
    let reference = registry.push("busybox:latest", "rig/busybox:1", &login);
    let pull = |config: &std::path::Path| {
        Command::new("docker")
            .arg("--config")
            .arg(config)
            .args(["pull", "-q", &reference])
            .output()
            .unwrap()
    };
    assert!(!pull(dir.path()).status.success());
    let out = pull(&login);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    process::run(Command::new("docker").args(["rmi", &reference]));
}

/// A bridge with an address that comes and goes, over and over.
struct Changing {
    ended: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Changing {
    fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        let thread = std::thread::spawn(move || {
            let name = format!("fhc{}", std::process::id());
            let ip = |words: &str| process::run(Command::new("ip").args(words.split(' ')));
            let mut times = 0;
            while !seen.load(Ordering::Relaxed) {
                ip(&format!("link add name {name} type bridge"));
                ip(&format!("addr add 192.0.2.1/30 dev {name}"));
                ip(&format!("link set {name} up"));
                ip(&format!("link del {name}"));
                times += 1;
            }
            times
        });
        Self { ended, thread }
    }

    /// How often it came and went.
    fn stop(self) -> usize {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

const PAGE: &str = "<meta name=viewport content=width=device-width><h1>Here</h1>\
    <script>document.body.append('there')</script>";

/// A page over TLS at a box's address, its root trusted, in curl and in the browser; an untrusted root is refused.
#[test]
fn clients_verify_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let served = authority.issue(&["page.test"]);
    let address = address::own_address();
    std::fs::write(dir.path().join("index.html"), PAGE).unwrap();
    let server = "import http.server as h,ssl,sys\n\
        s=h.ThreadingHTTPServer((sys.argv[1],443),h.SimpleHTTPRequestHandler)\n\
        c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER);c.load_cert_chain(sys.argv[2],sys.argv[3])\n\
        s.socket=c.wrap_socket(s.socket,server_side=True);s.serve_forever()";
    let _server = process::Process::start(
        Command::new("python3")
            .args(["-c", server, &address.to_string()])
            .args([&served.certificate, &served.key])
            .current_dir(dir.path()),
        dir.path().join("server.log"),
    )
    .ready("the page", || address::accepts(address, 443));

    let edge = Edge {
        address,
        roots: authority.root_file.clone(),
    };
    // Python speaks HTTP/1.0, which curl calls 1.
    let answer = edge.get("https://page.test/").http2().send().unwrap();
    assert_eq!((answer.status, answer.version.as_str()), (200, "1"));
    assert_eq!(answer.text(), PAGE);
    let other = Authority::new(&dir.path().join("other"));
    let stranger = Edge {
        roots: other.root_file.clone(),
        ..edge
    };
    assert!(stranger.get("https://page.test/").send().is_err());

    let settings = browser::Settings::new(address, &[&authority.root_file]);
    let browser = browser::Browser::open(&settings);
    // Interfaces come and go, as an engine's do; a browser among them would say ERR_NETWORK_CHANGED.
    let changing = Changing::start();
    for _ in 0..20 {
        browser.go("https://page.test/");
        assert_eq!(browser.text().replace('\n', ""), "Herethere");
    }
    assert!(changing.stop() > 0);
    assert_eq!(
        browser.accessibility_faults().len(),
        2,
        "no title, no language"
    );

    let phone = browser::Settings {
        size: (390, 844),
        dark: true,
        javascript: false,
        ..settings
    };
    let phone = browser::Browser::open(&phone);
    phone.go("https://page.test/");
    assert_eq!(phone.script("return innerWidth"), 390);
    assert_eq!(
        phone.script("return matchMedia('(prefers-color-scheme: dark)').matches"),
        true
    );
    assert_eq!(phone.text(), "Here");
}

/// A program of a folder, made of shell's own words.
fn script(folder: &std::path::Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let text = format!("#!/bin/sh\n{text}\n");
    process::make_program(&folder.join(name), text.as_bytes());
}

/// `sudo tests/run` has root's HOME; the toolchain is the person's.
#[test]
fn the_cargo_of_whoever_calls_sudo_is_found_or_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (bin, home) = (dir.path().join("bin"), dir.path().join("ada"));
    script(
        &bin,
        "getent",
        &format!("echo ada:x:7:7::{}:/bin/sh", home.display()),
    );
    script(&bin, "runuser", "shift 3; exec \"$@\"");
    std::os::unix::fs::symlink("/usr/bin/cut", bin.join("cut")).unwrap();
    let find = || {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/cargo");
        let out = std::process::Command::new("/bin/bash")
            .args(["-c", &format!(". {file} && use_cargo && cargo")])
            .env_clear()
            .env("PATH", &bin)
            .env("HOME", dir.path().join("root"))
            .env("SUDO_USER", "ada")
            .output()
            .unwrap();
        (out.status.success(), support::freehold::words(&out))
    };
    let (found, said) = find();
    assert!(!found && said.contains("rustup's stable Rust"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");

    std::fs::create_dir_all(home.join(".rustup")).unwrap();
    script(
        &home.join(".cargo/bin"),
        "cargo",
        "echo \"of $RUSTUP_HOME\"",
    );
    let (found, said) = find();
    assert!(found, "{said}");
    assert_eq!(said.trim(), format!("of {}/.rustup", home.display()));
}
