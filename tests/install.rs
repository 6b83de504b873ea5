//! `install.sh` on a fresh Debian with systemd: from nothing to the demo's app answering, and once more; and on one
//! without, in the foreground.
//!
//! The server is a container of the rig's engine with an engine of its own; the binary is the tests' own build, since
//! what is tested here is the installation.

#[path = "support/forms.rs"]
mod forms;
#[allow(dead_code)]
#[path = "support/rig/mod.rs"]
mod rig;
mod support;
#[path = "install/under_load.rs"]
mod under_load;

use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use support::freehold::{BINARY, words};
use support::process::{Process, run};
use support::until::{secs, until, until_true};

const INSTALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh");
const PASSWORD: &str = "correct horse battery";
const LINK: &str = "Set your password";
/// Kills the daemon, and waits until systemd has one again that answers.
const KILLED_AND_BACK: &str = "before=$(systemctl show -P MainPID freehold); systemctl kill -s KILL freehold; \
     for i in $(seq 300); do [ \"$(systemctl show -P MainPID freehold)\" != \"$before\" ] && freehold status && exit 0; \
     sleep 0.2; done; exit 1";

/// One server at a time is enough for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A server, ended with its value.
struct Server {
    name: &'static str,
    _alone: MutexGuard<'static, ()>,
}

impl Server {
    /// A Debian whose first process is `init`.
    fn start(name: &'static str, init: &str) -> Self {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        rig("stop", name).output().unwrap();
        run(rig("start", name).env("SERVER_INIT", init));
        Self { name, _alone }
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", self.name, "timeout", "900", "sh", "-c", script]);
        command
    }

    fn sh(&self, script: &str) -> Output {
        self.command(script).output().unwrap()
    }

    fn must(&self, script: &str) -> String {
        let out = self.sh(script);
        assert!(
            out.status.success(),
            "{script}\n{}\n{}",
            words(&out),
            self.journal()
        );
        words(&out)
    }

    /// What the script says when it refuses; it must.
    fn refused(&self, script: &str) -> String {
        let out = self.sh(script);
        assert!(!out.status.success(), "{script}\n{}", words(&out));
        words(&out)
    }

    fn install(&self, options: &str) -> String {
        self.must(&format!("sh {INSTALL} --binary {BINARY} {options}"))
    }

    /// A cargo of this version, whose build is the tests' own binary.
    fn has_a_compiler(&self, version: &str) {
        let cargo = format!(
            "#!/bin/sh\ncase $1 in\n--version) echo cargo {version} ;;\nbuild) echo \"$@\" >/opt/built/asked ;;\n\
             metadata) echo '{{\"target_directory\":\"/opt/built\"}}' ;;\nesac\n"
        );
        self.must("mkdir -p /root/.cargo/bin /opt/built/release");
        self.must(&format!("ln -sf {BINARY} /opt/built/release/freehold"));
        self.must(&format!(
            "cat >/root/.cargo/bin/cargo <<'END'\n{cargo}END\nchmod +x /root/.cargo/bin/cargo"
        ));
        self.must("ln -sf /bin/true /usr/local/bin/cc");
    }

    /// Opens the setup link and chooses a password, the certificate verified by the box's own root.
    fn set_password(&self, link: &str) {
        let status = self.must("freehold status --json");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let root = status["root_file"].as_str().unwrap();
        // As a browser does it: the page first, with its cookie and what its form carries.
        let page = self.must(&format!("curl -sS -c /tmp/jar --cacert {root} '{link}'"));
        let token = forms::token(&page);
        let (origin, _) = link.split_once("/setup/").unwrap();
        let answered = self.must(&format!(
            "curl -sS -b /tmp/jar --data-urlencode 'form-token={token}' -o /dev/null -w '%{{http_code}}' --cacert {root} \
             -H 'Origin: {origin}' --data-urlencode 'password={PASSWORD}' --data-urlencode 'again={PASSWORD}' '{link}'"
        ));
        assert_eq!(answered, "303");
    }

    fn journal(&self) -> String {
        words(&self.sh("journalctl -u freehold -u freehold.socket -u docker -n 40 --no-pager"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        rig("stop", self.name).output().ok();
    }
}

fn rig(action: &str, name: &str) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/server"));
    command.args([action, name]);
    command
}

/// The value behind a label of what install.sh prints.
fn printed<'a>(text: &'a str, label: &str) -> &'a str {
    let line = text.lines().find(|l| l.trim().starts_with(label));
    line.unwrap_or_else(|| panic!("no {label:?} in:\n{text}"))
        .trim()
        .trim_start_matches(label)
        .trim()
}

#[test]
fn f1_one_command_from_a_fresh_server_to_the_demo() {
    let server = Server::start("freehold-install-test", "/sbin/init");
    // What the demo does without a registry is only tested where there is none.
    assert!(
        server
            .must("getent hosts registry-1.docker.io")
            .starts_with("127.0.0.1 ")
    );
    f1_says_what_is_missing_for_a_build(&server);
    // README's command. What the compiler does is every other test's; here it hands over what it has built.
    server.has_a_compiler("1.94.0");
    let said = server.refused(&format!("sh {INSTALL} --demo"));
    assert!(said.contains("/cargo is 1.94.0"), "{said}");
    server.has_a_compiler("1.95.0");
    let first = server.must(&format!("sh {INSTALL} --demo"));
    assert_eq!(
        server.must("cat /opt/built/asked"),
        "build --release --locked --quiet"
    );
    let dashboard = printed(&first, "Dashboard");
    assert!(dashboard.starts_with("https://"), "{first}");
    assert!(first.contains("SHA-256"), "{first}");
    let link = printed(&first, LINK);
    assert!(link.starts_with(dashboard.trim_end_matches('/')), "{first}");
    assert!(
        first.contains("No image registry can be reached"),
        "{first}"
    );
    assert!(
        first.contains("https://tasks.localhost/healthz answered"),
        "{first}"
    );

    let trust = printed(&first, "Trust its root");
    assert!(trust.contains("`freehold status` explains"), "{first}");
    let told = server.must("freehold status");
    assert!(told.contains("update-ca-certificates"), "{told}");
    // What the journal holds is JSON, a line an event.
    // The journal's keeper is a little behind.
    until("a line of the journal", secs(60), || {
        let last = "journalctl -u freehold.service _COMM=freehold -o cat -n 1 --no-pager";
        let line = server.must(last);
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let is_event = event["level"].is_string() && event["message"].is_string();
        is_event.then_some(()).ok_or(line)
    });

    // What shells and man read is where they look, and speaks of every verb.
    server.must("bash -c 'source /usr/local/share/bash-completion/completions/freehold; complete -p freehold'");
    server.must("test -s /usr/local/share/zsh/site-functions/_freehold -a -s /usr/local/share/fish/vendor_completions.d/freehold.fish");
    server.must("grep -q 'freehold' /usr/local/share/man/man1/freehold-deploy.1 && touch /usr/local/share/man/man1/freehold-gone.1");

    // The service runs as its own user with systemd's sockets, and comes back by itself.
    assert_eq!(
        server.must("ps -o user= -p $(systemctl show -P MainPID freehold)"),
        "freehold"
    );
    let held = server.must("ss -Hltnp '( sport = :80 or sport = :443 )'");
    assert!(held.contains("systemd"), "{held}");
    server.must(KILLED_AND_BACK);

    // Twice is harmless: same id, same app, no link now that there is an owner, and nothing restarted, not even by
    // another document.
    server.set_password(link);
    server.must("echo edited >>/usr/local/share/doc/freehold/README.md");
    let pid = server.must("systemctl show -P MainPID freehold");
    let second = server.install("--demo");
    assert_eq!(printed(&second, "Dashboard"), dashboard);
    assert!(!second.contains(LINK), "{second}");
    assert_eq!(server.must("systemctl show -P MainPID freehold"), pid);
    server.must("! test -e /usr/local/share/man/man1/freehold-gone.1");
    // A run that was interrupted after the program was placed: nothing differs any more, and the old one runs.
    server.must("cd /usr/local/bin && cp freehold freehold.new && mv freehold.new freehold");
    server.install("");
    assert_ne!(server.must("systemctl show -P MainPID freehold"), pid);
    server.must("! readlink /proc/$(systemctl show -P MainPID freehold)/exe | grep -q deleted");
    server.must(&format!(
        "cmp {}/README.md /usr/local/share/doc/freehold/README.md",
        env!("CARGO_MANIFEST_DIR")
    ));
    n4_systemd_follows_a_handover(&server);
    under_load::n4_reload_and_restart_under_load(&server);
    n7_the_daemon_has_the_score_of_its_unit(&server);
    n4_after_a_power_cut_everything_is_up_again(&server);
}

/// What was installed just now was handed over to; `systemctl reload` does the same, and says so when it does not.
fn n4_systemd_follows_a_handover(server: &Server) {
    until("the handover in the journal", secs(60), || {
        let log = server.must("journalctl -u freehold.service -o cat --no-pager");
        let is_told = log.contains("another Freehold has taken over");
        is_told.then_some(()).ok_or(log)
    });
    let main = || server.must("systemctl show -P MainPID freehold");
    let before = main();
    server.must("systemctl reload freehold");
    let after = main();
    assert_ne!(after, before);
    assert_eq!(server.must("systemctl is-active freehold"), "active");
    server.must(&format!(
        "for i in $(seq 600); do kill -0 {before} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
    ));
    // One that cannot be started: the unit stays as it is.
    server.must("cd /usr/local/bin && mv freehold good && printf '#!/bin/sh\nexit 7\n' >freehold && chmod +x freehold");
    server.refused("systemctl reload freehold");
    let said = server.refused("/usr/local/bin/good reload");
    assert!(
        said.contains("exit code 7") && said.contains("serves on"),
        "{said}"
    );
    server.must("cd /usr/local/bin && mv good freehold");
    // Installed like any other: what cannot serve is not what the next start finds.
    server.must(&format!(
        "printf '#!/bin/sh\ncase $1 in serve) exit 7;; *) exec {BINARY} \"$@\";; esac\n' >/root/bad && chmod +x /root/bad"
    ));
    let said = server.refused(&format!("sh {INSTALL} --binary /root/bad"));
    assert!(
        said.contains("the one before serves on, and is what is installed"),
        "{said}"
    );
    server.must(&format!(
        "cmp {BINARY} /usr/local/bin/freehold && ! test -e /usr/local/bin/freehold.before"
    ));
    assert_eq!(main(), after);
    // Whoever has the place is systemd's: it comes back.
    server.must(KILLED_AND_BACK);
}

/// Whom a box without memory loses last: what the unit says is what the daemon has, and whoever takes over from it.
fn n7_the_daemon_has_the_score_of_its_unit(server: &Server) {
    let unit = include_str!("../systemd/freehold.service");
    let unit = unit.lines().find_map(|l| l.strip_prefix("OOMScoreAdjust="));
    let unit = unit.unwrap();
    assert!(unit.parse::<i32>().unwrap() < 0, "{unit}");
    let of_unit = || server.must("systemctl show -P OOMScoreAdjust freehold");
    assert_eq!(of_unit(), unit);
    let main = || server.must("systemctl show -P MainPID freehold");
    let score = || server.must(&format!("cat /proc/{}/oom_score_adj", main()));
    // A container on a container may not lower a score, and there systemd passes over what it cannot set.
    let may_lower = server.sh(&format!("echo {unit} >/proc/self/oom_score_adj"));
    if may_lower.status.success() {
        assert_eq!(score(), unit);
    } else {
        println!("the daemon has {}, {unit} cannot be set here", score());
    }
    // A higher one can be set by anybody: the daemon has it from its unit, and a successor from the daemon.
    let higher = "/run/systemd/system/freehold.service.d/higher.conf";
    server.must(&format!(
        "mkdir -p $(dirname {higher}) && printf '[Service]\nOOMScoreAdjust=300\n' >{higher} && \
         systemctl daemon-reload && systemctl restart freehold"
    ));
    assert_eq!((of_unit(), score()), ("300".into(), "300".into()));
    let before = main();
    server.must("systemctl reload freehold");
    assert_ne!(main(), before);
    assert_eq!(score(), "300");
    server.must(&format!(
        "rm {higher} && systemctl daemon-reload && systemctl restart freehold && freehold status"
    ));
    assert_eq!(of_unit(), unit);
}

/// The machine goes without a word, and its engine is slow to come back: sites say so meanwhile, and nobody has to help.
fn n4_after_a_power_cut_everything_is_up_again(server: &Server) {
    server.must(
        "mkdir -p /etc/systemd/system/docker.service.d && \
         printf '[Service]\nExecStartPre=/bin/sleep 30\n' >/etc/systemd/system/docker.service.d/slow.conf",
    );
    // Or who asks would wait for it.
    server.must("printf '[hold]\ntime = \"1s\"\n' >>/etc/freehold/config.toml && sync");
    run(Command::new("docker").args(["kill", server.name]));
    run(Command::new("docker").args(["start", server.name]));
    let ask = || {
        let root = "/run/freehold/root.pem";
        let asked = server.sh(&format!(
            "curl -sS -m 60 -H 'Accept: text/html' -w '\n%{{http_code}} %header{{retry-after}}' --cacert {root} https://tasks.localhost/healthz"
        ));
        words(&asked)
    };
    let away = until("an answer before the engine", secs(120), || {
        let said = ask();
        if said.contains("\n503 ") {
            Ok(said)
        } else {
            Err(said)
        }
    });
    // A page, with what a machine needs to come back.
    assert!(
        away.contains("<html") && away.contains("Try again shortly"),
        "{away}"
    );
    assert!(!away.ends_with("503 "), "{away}");
    until("the app", secs(300), || {
        let said = ask();
        if said.contains("\n200") {
            Ok(())
        } else {
            Err(said)
        }
    });
    // Sites are served before all of it has said of itself that it is up.
    until("both services to be active", secs(120), || {
        let said = words(&server.sh("systemctl is-active freehold docker"));
        (said == "active\nactive").then_some(()).ok_or(said)
    });
    until("the app to be known as healthy", secs(120), || {
        let all = server.must("freehold app show tasks --json");
        all.contains("\"healthy\"").then_some(()).ok_or(all)
    });
}

/// On a machine that has systemd and neither a toolchain nor, at first, the memory.
fn f1_says_what_is_missing_for_a_build(server: &Server) {
    server.must("printf 'MemTotal: 900000 kB\\nSwapTotal: 100000 kB\\n' >/root/small");
    let said = server.refused(&format!("MEMINFO=/root/small sh {INSTALL}"));
    assert!(
        said.contains("2 GB of memory and swap") && said.contains("swapon"),
        "{said}"
    );
    server.must("printf 'MemTotal: 1900000 kB\\nSwapTotal: 100000 kB\\n' >/root/enough");
    let said = server.refused(&format!("MEMINFO=/root/enough sh {INSTALL}"));
    assert!(
        said.contains("there is no cargo here") && said.contains("rustup"),
        "{said}"
    );
    let said = server.refused(&format!("sh {INSTALL} --foreground --binary {BINARY}"));
    assert!(said.contains("for machines without systemd"), "{said}");
    // Refused is refused: nothing was begun.
    server.must("! command -v dockerd && ! command -v freehold && ! getent passwd freehold");
}

/// Without systemd the daemon runs in the terminal, and ends with the installer, however that ends.
#[test]
fn f1_in_the_foreground_without_systemd() {
    let server = Server::start("freehold-foreground-test", "sleep infinity");
    let dir = tempfile::tempdir().unwrap();
    let install = format!("sh {INSTALL} --foreground --binary {BINARY}");
    let terminal = Process::start(
        &mut server.command(&format!("echo $$ >/run/installer; exec {install}")),
        dir.path().join("terminal"),
    );
    let said = until("the address", secs(300), || {
        let said = terminal.log_text();
        let ready = said.contains("Freehold is up") && said.contains(LINK);
        if ready { Ok(said) } else { Err(said) }
    });
    let dashboard = printed(&said, "Dashboard");
    let page = server.must(&format!(
        "curl -sSf --cacert $(freehold status --json | sed -n 's/.*\"root_file\": *\"\\([^\"]*\\)\".*/\\1/p') {dashboard}sign-in"
    ));
    assert!(page.contains("password"), "{page}");
    // Its ports are its own: a second one is refused, and the first stays.
    let said = server.refused(&install);
    assert!(
        said.contains("another program listens on port 80 or 443"),
        "{said}"
    );
    server.must("freehold status");
    server.must("kill -TERM $(cat /run/installer)");
    until_true("the daemon to end", secs(60), || {
        server.sh("! pgrep -x freehold").status.success()
    });

    // A demo that fails: no engine's command line can do anything, so there are no images.
    server.must("printf '#!/bin/sh\\nexit 1\\n' >/usr/local/sbin/docker; chmod +x /usr/local/sbin/docker; cd /usr/local/sbin && cp docker debootstrap && cp docker busybox");
    let said = server.refused(&format!("{install} --demo"));
    assert!(
        said.contains("Freehold is up") && said.contains("neither pulled nor built"),
        "{said}"
    );
    server.must("! pgrep -x freehold && ! ss -Hltn '( sport = :80 or sport = :443 )' | grep -q .");
}

#[test]
fn f1_says_what_stands_in_the_way() {
    let install = |options: &[&str]| {
        let mut command = Command::new("sh");
        command.arg(INSTALL).args(options);
        command
    };
    let small = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(small.path(), "MemTotal: 900000 kB\nSwapTotal: 100000 kB\n").unwrap();
    let refused = |command: &mut Command, why: &str| {
        let out = command.output().unwrap();
        assert!(!out.status.success());
        assert!(words(&out).contains(why), "{}", words(&out));
    };
    for options in [&["--foreground"][..], &[]] {
        refused(
            install(options).env("MEMINFO", small.path()),
            "2 GB of memory and swap",
        );
    }
    // The other way to start than this machine has.
    let systemd = std::path::Path::new("/run/systemd/system").exists();
    let options: &[&str] = if systemd { &["--foreground"] } else { &[] };
    let why = if systemd {
        "for machines without systemd"
    } else {
        "sudo sh install.sh --foreground"
    };
    refused(install(&["--binary", BINARY]).args(options), why);
    refused(&mut install(&["--nonsense"]), "unknown option: --nonsense");
    refused(
        &mut install(&["--binary", "/dev/null"]),
        "/dev/null is not a program",
    );
}
