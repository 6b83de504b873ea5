//! The box and everything around it, kept for the whole run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::f9_manners::Neighbours;
use crate::support::acme::Acme;
use crate::support::authority::Authority;
use crate::support::browser::{Browser, Settings};
use crate::support::edge::Edge;
use crate::support::freehold::Freehold;
use crate::support::git_host::{GitHost, WorkingCopy};
use crate::support::process::run;
use crate::support::registry::Registry;
use crate::support::s3::S3;
use crate::support::until::secs;

/// What the owner chooses when the setup link is opened.
pub const PASSWORD: &str = "correct horse battery";

/// Fields are dropped from the top: the box first, then what it leans on.
pub struct World {
    pub fh: Freehold,
    pub acme: Acme,
    pub git: GitHost,
    pub registry: Registry,
    pub s3: S3,
    /// The repository of the app `tasks`, once F4 has made it.
    pub copy: Option<WorkingCopy>,
    /// Another installation's objects, and what was said of them at the start.
    pub neighbours: Option<(Neighbours, String)>,
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("fh-world-")
            .tempdir()
            .unwrap();
        let at = |name: &str| dir.path().join(name);
        let authority = Authority::new(&at("authority"));
        let mut fh = Freehold::new();
        let acme = Acme::start(&at("acme"), fh.address, secs(90 * 86_400));
        let git = GitHost::start(dir.path(), &authority);
        let registry = Registry::start(&at("registry"), &authority);
        let s3 = S3::start(&at("s3"));
        s3.create_bucket("dumps");
        fh.configure(&format!(
            "[acme]\nemail = \"ada@example.com\"\ndirectory = \"{}\"\nca_file = \"{}\"\nresolver = \"{}\"\n\
             [git]\nca_file = \"{}\"\n[dashboard]\nhost = \"panel.test\"\n",
            acme.directory,
            acme.ca_file.display(),
            acme.resolver,
            authority.root_file.display(),
        ));
        fh.start();
        let world = Self {
            fh,
            acme,
            git,
            registry,
            s3,
            copy: None,
            neighbours: None,
            dir,
        };
        world.acme.save_root(&world.public_root());
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The root that public names' certificates come from.
    pub fn public_root(&self) -> PathBuf {
        self.path("public-root.pem")
    }

    /// The box's own root, as `status` names it.
    pub fn box_root(&self) -> PathBuf {
        let status = self.fh.json(&["status"]);
        PathBuf::from(status["root_file"].as_str().unwrap())
    }

    /// A client that trusts what the public trusts.
    pub fn public(&self) -> Edge {
        self.fh.edge(&self.public_root())
    }

    /// A client that trusts the box's own root only.
    pub fn private(&self) -> Edge {
        self.fh.edge(&self.box_root())
    }

    pub fn browser(&self, change: impl FnOnce(&mut Settings)) -> Browser {
        let mut settings = Settings::new(self.fh.address, &[&self.public_root(), &self.box_root()]);
        change(&mut settings);
        Browser::open(&settings)
    }

    /// A browser that is signed in, on the overview.
    pub fn owner(&self, change: impl FnOnce(&mut Settings)) -> Browser {
        let browser = self.browser(change);
        browser.go("https://panel.test/");
        browser.type_into("input[type=password]", PASSWORD);
        browser.click_away("form button");
        browser.arrives("https://panel.test/");
        assert!(
            !browser.has("input[type=password]"),
            "not signed in: {}",
            browser.text()
        );
        browser
    }

    /// `docker ARGUMENTS`, its output trimmed.
    pub fn docker(&self, arguments: &[&str]) -> String {
        run(Command::new("docker").args(arguments))
            .trim()
            .to_owned()
    }

    /// Ids of this box's running containers of one owner, such as `app:1`.
    pub fn containers(&self, filter: &str) -> Vec<String> {
        self.containers_of(&self.fh.installation(), filter)
    }

    /// The same of the installation `id`, whose daemon may be away.
    pub fn containers_of(&self, id: &str, filter: &str) -> Vec<String> {
        let out = self.docker(&[
            "ps",
            "-q",
            "--no-trunc",
            "--filter",
            &format!("label=freehold.installation={id}"),
            "--filter",
            filter,
        ]);
        out.split_whitespace().map(str::to_owned).collect()
    }

    /// The sample app's folder.
    pub fn sample() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tasks-api"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((neighbours, _)) = &self.neighbours {
            neighbours.remove();
        }
    }
}
