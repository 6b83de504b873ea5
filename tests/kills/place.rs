//! A box with an app whose page tells its release's text and one of its variables, and what can be asked of it.

use std::path::PathBuf;

use serde_json::Value;

use crate::bystander::Bystander;
use crate::support::census::Census;
use crate::support::freehold::{Freehold, words};
use crate::support::sweep::Sweep;
use crate::support::until::{secs, until};

pub const APP: &str = "hello";
pub const HOST: &str = "hello.localhost";
pub const URL: &str = "https://hello.localhost/";

pub struct Place {
    pub fh: Freehold,
}

impl Place {
    /// A box with nothing on it.
    pub fn empty() -> Self {
        Self::with("")
    }

    /// The same with more settings.
    pub fn with(settings: &str) -> Self {
        Self::on(Freehold::new(), settings)
    }

    /// A box that was not started yet, with these settings.
    pub fn on(mut fh: Freehold, settings: &str) -> Self {
        let text = format!("[deploy]\nwatch = \"1s\"\nreleases_kept = 2\n{settings}");
        fh.configure(&text);
        fh.start();
        Self { fh }
    }

    /// One with the app, deployed with this text.
    pub fn with_app(text: &str) -> Self {
        let place = Self::empty();
        place.add_app();
        place.deploy(&place.folder(text));
        place
    }

    pub fn add_app(&self) {
        self.fh.cli(&["app", "create", APP]);
        self.fh.cli(&["domain", "add", APP, HOST]);
    }

    /// A folder whose app's page is "page TEXT VALUE", the value that of the variable KEY.
    pub fn folder(&self, text: &str) -> PathBuf {
        let folder = self.fh.path(&format!("app-{text}"));
        std::fs::create_dir_all(&folder).unwrap();
        // It ends at once: a shell's httpd would wait for the end of its grace.
        let dockerfile = format!(
            "FROM busybox:latest\nWORKDIR /www\nEXPOSE 8000\nSTOPSIGNAL SIGKILL\n\
             CMD [\"sh\", \"-c\", \"echo page {text} $KEY > index.html; exec httpd -f -p 8000\"]\n"
        );
        std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
        folder
    }

    /// A folder of files, whose page is "page TEXT".
    pub fn pages(&self, text: &str) -> PathBuf {
        let folder = self.fh.path(&format!("pages-{text}"));
        std::fs::create_dir_all(folder.join("dist/more")).unwrap();
        std::fs::write(folder.join("freehold.toml"), "[build]\nstatic = \"dist\"\n").unwrap();
        std::fs::write(folder.join("dist/index.html"), format!("page {text}\n")).unwrap();
        std::fs::write(folder.join("dist/more/a.txt"), text).unwrap();
        folder
    }

    /// Deploys a folder to its end, and until the engine is calm again.
    pub fn deploy(&self, folder: &std::path::Path) {
        let folder = folder.display().to_string();
        self.fh.cli(&["deploy", &folder, "--app", APP]);
        self.until_settled("a deploy");
    }

    /// What the command line tells, once there is a daemon to ask: it may die just now.
    pub fn told(&self, arguments: &[&str]) -> Value {
        until(&format!("an answer to {arguments:?}"), secs(60), || {
            let out = self.fh.try_cli(&[arguments, &["--json"]].concat());
            match out.status.success() {
                true => serde_json::from_slice(&out.stdout).map_err(|e| e.to_string()),
                false => Err(words(&out)),
            }
        })
    }

    pub fn deploys(&self) -> Vec<Value> {
        let told = self.told(&["deploys", APP]);
        told.as_array().unwrap().clone()
    }

    /// The newest deploy's number; 0 before the first.
    pub fn newest(&self) -> i64 {
        let all = self.deploys();
        all.first()
            .map_or(0, |deploy| deploy["id"].as_i64().unwrap())
    }

    /// Waits until the newest deploy is live and watched no more.
    pub fn until_settled(&self, when: &str) {
        until(
            &format!("the newest deploy to be live after {when}"),
            secs(120),
            || {
                let newest = self.deploys().first().cloned().unwrap_or_default();
                match newest["state"] == "live" {
                    true => Ok(()),
                    false => Err(newest.to_string()),
                }
            },
        );
    }

    /// What the app answers.
    pub fn page(&self) -> String {
        let edge = self.fh.edge(&self.fh.path("run").join("root.pem"));
        let answer = edge.get(URL).send().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().trim().to_owned()
    }

    pub fn until_page(&self, wanted: &str, when: &str) {
        until(&format!("{wanted:?} after {when}"), secs(60), || {
            let page = self.page();
            if page == wanted { Ok(()) } else { Err(page) }
        });
    }

    pub fn census(&self) -> Census {
        Census::of(&self.fh).by_release(&self.fh.data_dir())
    }

    pub fn bystander(&self) -> Bystander {
        // Its own copy: the daemon writes the file anew at each start.
        let roots = self.fh.path("roots.pem");
        std::fs::copy(self.fh.path("run").join("root.pem"), &roots).unwrap();
        Bystander::of(self.fh.edge(&roots), URL)
    }

    /// Types `verb` while the daemon dies at each of the points, until `begun` says that it was heard; all of them have
    /// struck in the end.
    pub fn die_through(
        &self,
        sweep: &mut Sweep,
        points: &[String],
        verb: &[&str],
        begun: impl Fn() -> bool,
    ) {
        self.fh.arm_all(points);
        // A daemon that dies before it has written anything has promised nothing: it is asked again.
        until(&format!("{verb:?} to be heard"), secs(180), || {
            let out = self.fh.try_cli(verb);
            self.fh.wait_until_up();
            match begun() {
                true => Ok(()),
                false => Err(words(&out)),
            }
        });
        for killed in self.fh.crashed_at_all(points, secs(240)) {
            sweep.struck(killed);
        }
    }
}
