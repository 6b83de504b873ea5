//! What the steps do with the sample app over and over: a push with its event, a deploy awaited, a request through the edge.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::edge::Answer;
use crate::support::freehold::words;
use crate::support::git_host::signature;
use crate::support::until::{secs, until};
use crate::world::World;

pub const APP: &str = "tasks";
pub const URL: &str = "https://tasks.test";

/// How long a build and a start may take here.
pub const DEPLOY: Duration = secs(240);

/// States in which a deploy does nothing more for the traffic.
const ENDED: &[&str] = &[
    "live",
    "watching",
    "returned",
    "failed",
    "cancelled",
    "superseded",
];

impl World {
    /// The newest deploy of the app.
    pub fn newest_deploy(&self) -> Option<Value> {
        self.fh
            .json(&["deploys", APP])
            .as_array()
            .unwrap()
            .first()
            .cloned()
    }

    pub fn newest_deploy_id(&self) -> i64 {
        self.newest_deploy()
            .map_or(0, |d| d["id"].as_i64().unwrap())
    }

    /// Waits for the end of the first deploy after `id`, and gives it.
    pub fn deploy_after(&self, id: i64) -> Value {
        until(&format!("a deploy after {id} to end"), DEPLOY, || {
            let deploy = self.newest_deploy().unwrap_or_default();
            let state = deploy["state"].as_str().unwrap_or("none").to_lowercase();
            if deploy["id"].as_i64() > Some(id) && ENDED.contains(&state.as_str()) {
                return Ok(deploy);
            }
            Err(deploy.to_string())
        })
    }

    /// The same, which must have gone live.
    pub fn live_after(&self, id: i64) -> Value {
        let deploy = self.deploy_after(id);
        let state = deploy["state"].as_str().unwrap().to_lowercase();
        assert!(["live", "watching"].contains(&state.as_str()), "{deploy:#}");
        deploy
    }

    /// Posts an event as GitHub does.
    pub fn hook(&self, delivery: &str, event: &str, body: &str, signature: &str) -> Answer {
        self.public()
            .get(&format!("https://panel.test/hooks/{APP}"))
            .method("POST")
            .header("X-GitHub-Event", event)
            .header("X-GitHub-Delivery", delivery)
            .header("X-Hub-Signature-256", signature)
            .body("application/json", body)
            .send()
            .unwrap()
    }

    pub fn webhook_secret(&self) -> String {
        let shown = self.fh.json(&["app", "webhook", APP]);
        shown["secret"]
            .as_str()
            .unwrap_or_else(|| panic!("no webhook secret in {shown:#}"))
            .to_owned()
    }

    /// The app's row, as labels name it.
    pub fn app_id(&self) -> i64 {
        self.fh.json(&["app", "show", APP])["id"].as_i64().unwrap()
    }

    /// The same push and event, from a host that does not hear the answer.
    pub fn push_unanswered(&self, delivery: &str) {
        let copy = self.copy.as_ref().unwrap();
        let commit = copy.push(delivery);
        let body = copy.push_event("main", &commit);
        let signature = signature(&self.webhook_secret(), &body);
        let _unheard = self
            .public()
            .get(&format!("https://panel.test/hooks/{APP}"))
            .method("POST")
            .header("X-GitHub-Event", "push")
            .header("X-GitHub-Delivery", delivery)
            .header("X-Hub-Signature-256", &signature)
            .body("application/json", &body)
            .send();
    }

    /// Commits and pushes what lies in the working copy, and posts the push event; gives the commit.
    pub fn push_to_live(&self, delivery: &str) -> String {
        let copy = self.copy.as_ref().unwrap();
        let commit = copy.push(delivery);
        let body = copy.push_event("main", &commit);
        let answer = self.hook(
            delivery,
            "push",
            &body,
            &signature(&self.webhook_secret(), &body),
        );
        assert_eq!(answer.status, 202, "{}", answer.text());
        commit
    }

    /// Makes `GET /` of the next push say `version`; see [`World::version`].
    pub fn set_version(&self, version: &str) {
        let main = std::fs::read_to_string(World::sample().join("app/main.py")).unwrap();
        let (from, to) = (
            "\"servico\": \"tarefas\"",
            format!("\"servico\": \"{version}\""),
        );
        assert!(main.contains(from));
        self.copy
            .as_ref()
            .unwrap()
            .write("app/main.py", &main.replace(from, &to));
    }

    /// What `GET /` says now.
    pub fn version(&self) -> String {
        self.app("/").json()["servico"].as_str().unwrap().to_owned()
    }

    /// GET of a path of the app, answered with 200.
    pub fn app(&self, path: &str) -> Answer {
        let answer = self.public().get(&format!("{URL}{path}")).send().unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer
    }

    /// Waits until the app answers 200 over HTTPS, certificate verified.
    pub fn app_is_up(&self) -> Answer {
        until("the app to answer", secs(120), || {
            let answer = self.public().get(&format!("{URL}/healthz")).send()?;
            if answer.status == 200 {
                Ok(answer)
            } else {
                Err(format!("{}: {}", answer.status, answer.text()))
            }
        })
    }

    /// The container that answers for the app.
    pub fn app_is_up_container(&self) -> String {
        // One that answered last may be gone before it is looked at.
        until("the container that answers", secs(120), || {
            let instance = self.app_is_up().header("x-instance").to_owned();
            let mut inspect = std::process::Command::new("docker");
            let looked = inspect.args(["inspect", "--format", "{{.Id}}", &instance]);
            let looked = looked.output().unwrap();
            let said = words(&looked);
            looked.status.success().then(|| said.clone()).ok_or(said)
        })
    }

    /// A line of the app's activity that contains `words`.
    pub fn activity_says(&self, words: &str) {
        until(&format!("the activity to say {words:?}"), secs(60), || {
            let text = self.owner_page(&format!("/apps/{APP}/activity"));
            text.contains(words).then_some(()).ok_or(text)
        });
    }

    /// Does `deed`, which leaves one line more with `words` on the app's activity.
    pub fn one_line_more<T>(&self, words: &str, deed: impl FnOnce() -> T) -> T {
        let lines = || {
            let page = self.owner_page(&format!("/apps/{APP}/activity"));
            page.split("<li>").filter(|l| l.contains(words)).count()
        };
        let before = lines();
        let done = deed();
        // Whoever asked may have the answer before the line is written.
        until(&format!("one line more with {words:?}"), secs(60), || {
            let now = lines();
            (now == before + 1)
                .then_some(())
                .ok_or_else(|| format!("{before} before, {now} now"))
        });
        done
    }

    /// The text of a page of the dashboard, read without JavaScript over the owner's socket.
    pub fn owner_page(&self, path: &str) -> String {
        let out = std::process::Command::new("curl")
            .args(["-sS", "--unix-socket"])
            .arg(self.fh.socket())
            .arg(format!("http://localhost{path}"))
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    /// What the API says to the owner.
    pub fn owner_json(&self, path: &str) -> Value {
        let text = self.owner_page(path);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}\n{text}"))
    }

    /// `freehold deploy …` to its end, whatever it is.
    pub fn try_deploy(&self, arguments: &[&str]) -> Output {
        self.fh
            .try_cli(&[&["deploy", "--app", APP], arguments].concat())
    }
}
