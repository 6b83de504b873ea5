//! A box with the rig's app on it, in as many replicas as a test wants, and the load upon it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::rig::ask::NEVER;
use crate::rig::door::Door;
use crate::rig::ledger::{Kind, Ledger};
use crate::rig::load::{Load, Plan};
use crate::rig::report::Report;
use crate::rig::scale::Scale;
use crate::support::edge::{Answer, Edge};
use crate::support::freehold::{BINARY, Freehold, engine};
use crate::support::load::trust;
use crate::support::process::run;
use crate::support::until::{secs, until, until_true};

const APP: &str = "shop";
const HOST: &str = "shop.localhost";
const IMAGE: &str = "freehold-rig/app:1";

/// What a test's app is like.
#[derive(Clone, Copy)]
pub struct Shape {
    pub replicas: u32,
    /// How long it starts, and goes on after SIGTERM, in ms.
    pub start_ms: u32,
    pub stop_ms: u32,
    /// What it gets for ending what it began; "0s" is the saboteur.
    pub drain: &'static str,
    /// How long it may take to answer.
    pub answer: &'static str,
    /// More lines of the box's config.
    pub settings: &'static str,
}

pub const PLAIN: Shape = Shape {
    replicas: 3,
    start_ms: 0,
    stop_ms: 0,
    drain: "6s",
    answer: "60s",
    settings: "",
};

pub struct Place {
    pub fh: Freehold,
    engine: String,
    shape: Shape,
    pub edge: Edge,
    pub scale: Scale,
    version: u32,
}

impl Place {
    /// The box, with the first version of the app live.
    pub fn new(shape: Shape) -> Self {
        Self::on(&engine(), shape)
    }

    /// The same with a daemon whose program is a file of the box, so that another one can be put in its place.
    pub fn of_own_program(shape: Shape) -> Self {
        let mut fh = Freehold::new();
        fh.program = fh.path("freehold");
        std::fs::copy(BINARY, &fh.program).unwrap();
        Self::with(fh, &engine(), shape)
    }

    /// The same with a daemon whose sockets nobody holds: while it is away, nobody listens.
    pub fn of_own_sockets(shape: Shape) -> Self {
        let mut fh = Freehold::new();
        fh.is_held = false;
        Self::with(fh, &engine(), shape)
    }

    /// The same on another engine than the tests' own.
    pub fn on(engine: &str, shape: Shape) -> Self {
        Self::with(Freehold::new(), engine, shape)
    }

    fn with(mut fh: Freehold, engine: &str, shape: Shape) -> Self {
        let mut look = Command::new("docker");
        look.args(["-H", engine, "image", "inspect", IMAGE]);
        let there = look.output().unwrap().status.success();
        assert!(there, "{IMAGE} is missing: tests/rig/images app");
        fh.configure_on(engine, &settings(shape, ""));
        fh.start();
        fh.cli(&["app", "create", APP]);
        fh.cli(&["domain", "add", APP, HOST]);
        let status = fh.json(&["status"]);
        let edge = fh.edge(std::path::Path::new(status["root_file"].as_str().unwrap()));
        let mut place = Self {
            fh,
            engine: engine.to_owned(),
            shape,
            edge,
            scale: Scale::of_env(),
            version: 0,
        };
        place.deploy();
        place.until_serving(shape.replicas);
        place
    }

    /// The next version, until its work is over.
    pub fn deploy(&mut self) {
        self.version += 1;
        let folder = self.folder();
        self.fh
            .cli(&["deploy", folder.to_str().unwrap(), "--app", APP]);
    }

    fn folder(&self) -> PathBuf {
        let Shape {
            replicas,
            start_ms,
            stop_ms,
            drain,
            ..
        } = self.shape;
        let folder = self.fh.path("app");
        std::fs::create_dir_all(&folder).unwrap();
        let file = format!(
            "FROM {IMAGE}\nENV VERSION={} START_MS={start_ms} STOP_MS={stop_ms}\n",
            self.version
        );
        std::fs::write(folder.join("Dockerfile"), file).unwrap();
        let settings = format!(
            "[processes.web]\nport = 8000\nhealth = \"/healthz\"\nmemory = \"96M\"\n\
             replicas = {{ min = {replicas}, max = {replicas} }}\n[deploy]\ndrain = \"{drain}\"\n"
        );
        std::fs::write(folder.join("freehold.toml"), settings).unwrap();
        folder
    }

    pub fn rollback(&self) {
        self.fh.cli(&["rollback", APP]);
    }

    /// As many replicas from now on, until they serve and no other does.
    pub fn scale_to(&self, replicas: u32) {
        self.fh.cli(&["scale", APP, &format!("web={replicas}")]);
        self.until_serving(replicas);
    }

    /// Waits until exactly so many are well, and nothing else is left of the app.
    pub fn until_serving(&self, replicas: u32) {
        let wanted = usize::try_from(replicas).unwrap();
        until("the replicas", secs(120), || {
            let all = self.replicas();
            let well = all.iter().filter(|r| r["state"] == "healthy");
            let is_so = well.count() == wanted && all.len() == wanted;
            is_so
                .then_some(())
                .ok_or_else(|| format!("{all:?}\n{}", self.fh.log_tail()))
        });
    }

    /// An edit of the config that is seen to be in force: another host's redirect tells its `mark`. `more` stands in front
    /// of it.
    pub fn reload(&self, mark: u32, more: &str) {
        let route = format!(
            "{more}[[route]]\nhost = \"reload.localhost\"\n\
             redirects = [{{ to = \"https://shop.localhost/{mark}\" }}]\n"
        );
        let settings = settings(self.shape, &route);
        self.fh.configure_on(&self.engine, &settings);
        until("the reload", secs(60), || {
            let answer = self.edge.get("https://reload.localhost/").send()?;
            let to = answer.header("location");
            let is_so = to.contains(&format!("shop.localhost/{mark}"));
            is_so
                .then_some(())
                .ok_or_else(|| format!("{} {to}", answer.status))
        });
    }

    /// Other lines of the config from now on.
    pub fn settle(&mut self, mark: u32, lines: &'static str) {
        self.shape.settings = lines;
        self.reload(mark, "");
    }

    pub fn load(&self, mix: &'static [Kind], streams: usize) -> Load {
        Load::start(Plan {
            door: Door {
                address: SocketAddr::from((self.edge.address, 443)),
                name: HOST.to_owned(),
                tls: Some(trust(&self.edge)),
            },
            rate: self.scale.rate,
            mix,
            streams,
            patience: NEVER,
        })
    }

    /// Lets a load go on for so many requests more; in the large form, for as many as take that time.
    pub fn goes_on(&self, load: &Load, more: usize) {
        let (over, more) = (load.over(), self.scale.requests(more));
        until_true("more of the load", secs(300), || load.over() >= over + more);
    }

    /// Adds up, tells and keeps what a run came to.
    pub fn report(&self, name: &str, ledger: &Ledger) -> Report {
        self.report_with(name, ledger, |_| ())
    }

    /// The same with what the test itself looked at.
    pub fn report_with(
        &self,
        name: &str,
        ledger: &Ledger,
        more: impl FnOnce(&mut Report),
    ) -> Report {
        let mut report = Report::of(name, ledger, Some(&self.log()));
        more(&mut report);
        println!("{report}");
        report.save(&self.scale);
        report
    }

    /// The folder of the edge's access log.
    pub fn log(&self) -> PathBuf {
        self.fh.data_dir().join("logs")
    }

    /// What the API says of the app's replicas.
    pub fn replicas(&self) -> Vec<Value> {
        let app = self.fh.json(&["app", "show", APP]);
        app["replicas"].as_array().unwrap().clone()
    }

    /// The name by which the edge's access log knows this container.
    pub fn target_of(&self, container: &Container) -> String {
        until("the edge to know it", secs(60), || {
            let seen = self.fh.json(&["status", "--routes"]);
            let routes = seen["routes"].as_array().unwrap();
            let mut targets = routes.iter().flat_map(|r| r["targets"].as_array().unwrap());
            let its = targets.find(|t| t["container"] == container.name.as_str());
            let key = its.and_then(|t| t["key"].as_str());
            key.map(ToOwned::to_owned).ok_or_else(|| seen.to_string())
        })
    }

    /// Asks the app once, as any client does.
    pub fn ask(&self, path: &str) -> Answer {
        let url = format!("https://{HOST}{path}");
        self.edge.get(&url).send().unwrap()
    }

    /// The app's containers.
    pub fn containers(&self) -> Vec<Container> {
        let label = format!("label=freehold.installation={}", self.fh.installation());
        let mut list = Command::new("docker");
        list.args(["-H", &self.engine, "ps", "-q", "--filter", &label]);
        let ids = run(&mut list);
        let ids = ids.split_whitespace();
        ids.filter_map(|id| Container::of(&self.engine, id))
            .collect()
    }
}

/// What every box of these tests has, and its own: all load comes from one address, which is slow when the machine is, and
/// every line of the log is wanted.
fn settings(shape: Shape, more: &str) -> String {
    format!(
        "[access_log]\nsize = \"200MB\"\n[deploy]\nwatch = \"5s\"\n\
         [timeouts]\nheader = \"60s\"\nanswer = \"{}\"\n{}\n\
         [limits]\nconnections_per_address = 10000\nnew_connections_per_address = 10000\n{more}",
        shape.answer, shape.settings
    )
}

/// A container of the app; its id is that with which it names itself in its answers.
#[derive(Clone, Debug)]
pub struct Container {
    engine: String,
    pub id: String,
    pub name: String,
    address: SocketAddr,
}

impl Container {
    /// Nothing of one that is gone between the list and this look.
    fn of(engine: &str, id: &str) -> Option<Self> {
        let format = "{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let mut inspect = Command::new("docker");
        inspect.args(["-H", engine, "inspect", "-f", format, id]);
        let out = inspect.output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let (name, ip) = said.trim().split_once(' ')?;
        let ip: std::net::IpAddr = ip.parse().ok()?;
        Some(Self {
            engine: engine.to_owned(),
            id: id.to_owned(),
            // `/fh-`, the beginning of the installation's id, and ours.
            name: name.splitn(3, '-').nth(2).unwrap().to_owned(),
            address: SocketAddr::new(ip, 8000),
        })
    }

    /// Tells it how to behave; one that ends by it gives no answer.
    pub fn behave(&self, mode: &str) {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(secs(5))).unwrap();
        let ask =
            format!("POST /behave?mode={mode} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(ask.as_bytes()).unwrap();
        // Its answer's first byte; one that hangs from now on still answers this.
        stream.read_exact(&mut [0]).ok();
    }

    /// An engine's verb with it, such as `kill`.
    pub fn docker(&self, verb: &[&str]) {
        let mut command = Command::new("docker");
        command.args(["-H", &self.engine]).args(verb).arg(&self.id);
        run(&mut command);
    }

    /// When it ended the last time, by the engine's clock in ms.
    pub fn ended_ms(&self) -> i64 {
        let at = self.state()["FinishedAt"].as_str().unwrap().to_owned();
        let at: jiff::Timestamp = at.parse().unwrap();
        at.as_millisecond()
    }

    /// What the engine says of it.
    pub fn state(&self) -> Value {
        let mut inspect = Command::new("docker");
        inspect.args([
            "-H",
            &self.engine,
            "inspect",
            "-f",
            "{{json .State}}",
            &self.id,
        ]);
        serde_json::from_str(&run(&mut inspect)).unwrap()
    }
}
