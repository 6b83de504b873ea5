//! N4 where systemd has the daemon: `systemctl reload` and `systemctl restart` under the load of the rig, which comes from
//! outside of the server and goes to the rig's app behind a route of the server's settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::Server;
use crate::rig::ask::NEVER;
use crate::rig::door::Door;
use crate::rig::ledger::{Kind, Outcome, Record};
use crate::rig::load::{EVERYTHING, Load, Plan};
use crate::rig::report::Report;
use crate::rig::scale::Scale;
use crate::support::edge::Edge;
use crate::support::load::trust;
use crate::support::process::run;
use crate::support::until::{secs, until, until_true};

const IMAGE: &str = "freehold-rig/app:1";
const HOST: &str = "rig.localhost";
/// Before and between changes, so that every kind of request is under way.
const SOME: usize = 60;
/// Each leaves a daemon that serves what it had to its end, and only so many may at a time.
const RELOADS: usize = 2;
/// So often at most until a request was lost that is to be: whether one is under way at the moment is chance.
const TRIES: usize = 10;
/// An end over HTTP/2 is told, and who connects waits in the sockets: none of these is sent on what ends at that moment.
const MOVES: &[Kind] = &[Kind::Http2, Kind::Fresh, Kind::SlowHttp2, Kind::Http2];
/// All load comes from one address, which is slow when the machine is, as are the last answers of who stops.
const SETTINGS: &str = "[timeouts]\nheader = \"60s\"\n[drain]\ndaemon = \"15s\"\n\
    [limits]\nconnections_per_address = 10000\nnew_connections_per_address = 10000\n\
    [[route]]\nhost = \"rig.localhost\"\nupstream = \"http://127.0.0.1:8000\"\n";
const DROP_IN: &str = "/run/systemd/system/freehold.service.d/saboteur.conf";

/// The rig's app on the server, as one of its services, with a route to it for as long as this lives.
struct App<'a> {
    server: &'a Server,
    edge: Edge,
    // Holds the roots that its edge trusts.
    _roots: tempfile::NamedTempFile,
}

impl<'a> App<'a> {
    fn on(server: &'a Server) -> Self {
        let mut app = Command::new("docker");
        app.args(["run", "--rm", "--network", "none", "--entrypoint", "cat"]);
        let app = app.args([IMAGE, "/usr/local/bin/app"]).output().unwrap();
        assert!(
            app.status.success(),
            "{IMAGE} is missing: tests/rig/images app"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), app.stdout).unwrap();
        let to = format!("{}:/usr/local/bin/rig-app", server.name);
        run(Command::new("docker").arg("cp").arg(file.path()).arg(to));
        server.must(
            "chmod 0755 /usr/local/bin/rig-app && systemd-run --quiet --unit=rig-app /usr/local/bin/rig-app",
        );
        server.must(&format!(
            "cp /etc/freehold/config.toml /root/settings && cat >>/etc/freehold/config.toml <<'END'\n{SETTINGS}END"
        ));
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let mut inspect = Command::new("docker");
        inspect.args(["inspect", "-f", address, server.name]);
        let address: Ipv4Addr = run(&mut inspect).trim().parse().unwrap();
        let roots = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(roots.path(), server.must("cat /run/freehold/root.pem")).unwrap();
        let edge = Edge {
            address,
            roots: roots.path().to_owned(),
        };
        let app = Self {
            server,
            edge,
            _roots: roots,
        };
        app.until_served();
        app
    }

    fn until_served(&self) {
        let url = format!("https://{HOST}/ok/1?size=1000");
        until("the app of the rig", secs(120), || {
            let answer = self.edge.get(&url).send()?;
            let is_so = answer.status == 200;
            is_so.then_some(()).ok_or_else(|| answer.text())
        });
    }

    fn load(&self, mix: &'static [Kind]) -> Load {
        let load = Load::start(Plan {
            door: Door {
                address: SocketAddr::from((self.edge.address, 443)),
                name: HOST.to_owned(),
                tls: Some(trust(&self.edge)),
            },
            rate: Scale::of_env().rate,
            mix,
            streams: 0,
            patience: NEVER,
        });
        goes_on(&load);
        load
    }

    /// A load until something was lost that is to be, or the tries are over.
    fn saboteur(
        &self,
        name: &str,
        script: &str,
        mix: &'static [Kind],
        is_it: impl Fn(&Record) -> bool,
    ) {
        let load = self.load(mix);
        for turn in 0..TRIES {
            load.mark(format!("{turn}: {script}"));
            // One that is refused because others still leave is none.
            self.server.sh(script);
            goes_on(&load);
            if load.failed().iter().any(&is_it) {
                break;
            }
        }
        let lost = load.failed();
        let report = of(name, load);
        assert!(lost.iter().any(is_it), "nothing was lost\n{report}");
    }
}

impl Drop for App<'_> {
    fn drop(&mut self) {
        let script = "systemctl stop rig-app; cat /root/settings >/etc/freehold/config.toml";
        self.server.sh(script);
    }
}

/// What else the unit says from now on.
fn drop_in(server: &Server, line: &str) {
    server.must(&format!(
        "mkdir -p $(dirname {DROP_IN}) && printf '[Service]\n{line}\n' >{DROP_IN} && systemctl daemon-reload"
    ));
}

fn goes_on(load: &Load) {
    let over = load.over();
    until_true("more of the load", secs(300), || load.over() >= over + SOME);
}

fn of(name: &str, load: Load) -> Report {
    let report = Report::of(name, &load.finish(), None);
    println!("{report}");
    report
}

fn is_refused(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Refused(_))
}

/// Nothing fails while systemd has another one take over, nor while it restarts that: it is no child of systemd's, and has its
/// drain all the same.
pub fn n4_reload_and_restart_under_load(server: &Server) {
    let app = App::on(server);
    let main = || server.must("systemctl show -P MainPID freehold");
    let load = app.load(EVERYTHING);
    for turn in 0..RELOADS {
        let before = main();
        load.mark(format!("reload {turn}"));
        server.must("systemctl reload freehold");
        assert_ne!(main(), before);
        goes_on(&load);
    }
    let report = of("systemctl reload", load);
    report.assert_flawless((1 + RELOADS) * SOME);
    println!(
        "    systemctl reload: nobody waited longer than {} ms",
        report.waited_ms.longest
    );

    let load = app.load(MOVES);
    let before = main();
    load.mark("restart");
    server.must("systemctl restart freehold");
    assert_ne!(main(), before);
    goes_on(&load);
    let report = of("systemctl restart", load);
    report.assert_flawless(2 * SOME);
    println!(
        "    systemctl restart: nobody waited longer than {} ms",
        report.waited_ms.longest
    );

    // The saboteurs: sockets that systemd does not hold, a successor that is not told to stop before systemd kills it, and one
    // that goes and cuts what it serves.
    let unheld = "systemctl stop freehold.socket freehold.service && systemctl start freehold";
    app.saboteur(
        "systemctl restart without sockets",
        unheld,
        MOVES,
        is_refused,
    );
    drop_in(server, "ExecStop=");
    let untold = "systemctl reload freehold && systemctl restart freehold";
    app.saboteur("systemctl restart, untold", untold, MOVES, |_| true);
    drop_in(server, "Environment=FREEHOLD_SABOTAGE=abrupt-handover");
    server.must("systemctl restart freehold");
    app.until_served();
    let reload = "systemctl reload freehold";
    app.saboteur("systemctl reload, abrupt", reload, EVERYTHING, |_| true);
    server.must(&format!(
        "rm {DROP_IN} && systemctl daemon-reload && systemctl restart freehold && freehold status"
    ));
}
