//! F10: what is done to apps and databases without a script.

use crate::app::{APP, DEPLOY};
use crate::support::until::{secs, until};
use crate::world::World;

use super::f10_looks::{Person, form};

pub fn apps(p: &mut Person) {
    let new = "/apps/new";
    let bad = [("name", "Not A Name")];
    p.send(
        "/apps",
        &form(new, "/apps", &bad),
        "cannot be the name of an app",
    );
    let good = [("name", "looks"), ("domain", "looks.localhost")];
    p.send("/apps", &form(new, "/apps", &good), "looks is made");
    let env = "/apps/looks/env";
    let bad = [("name", "2FAST"), ("value", "x")];
    p.send(
        "/apps/{app}/env",
        &form(env, env, &bad),
        "cannot be the name",
    );
    let good = [("name", "COLOUR"), ("value", "gr$en")];
    p.send("/apps/{app}/env", &form(env, env, &good), "COLOUR is set");
    let reveal = "/apps/looks/env/reveal";
    p.send("/apps/{app}/env/reveal", &form(env, reveal, &[]), "gr$en");
    let lines = [("import", "A=1\nB=\"two words\"\n")];
    let import = "/apps/looks/env/import";
    p.send(
        "/apps/{app}/env/import",
        &form(env, import, &lines),
        "2 variables read",
    );
    let unset = "/apps/looks/env/unset";
    p.send(
        "/apps/{app}/env/unset",
        &form(env, unset, &[]),
        "is removed",
    );
    let domains = "/apps/looks/domains";
    let taken = [("domain", "tasks.test")];
    p.send(
        "/apps/{app}/domains",
        &form(domains, domains, &taken),
        "already belongs to",
    );
    let policies = "/apps/looks/domains/looks.localhost/policies";
    for (rate, words) in [
        ("often", "is not a rate"),
        ("100/minute", "it holds from now on"),
    ] {
        p.send(
            "/apps/{app}/domains/{domain}/policies",
            &form(policies, policies, &[("rate", rate)]),
            words,
        );
    }
    let remove = "/apps/looks/domains/remove";
    p.send(
        "/apps/{app}/domains/remove",
        &form(domains, remove, &[]),
        "is removed",
    );
    let settings = "/apps/looks/settings";
    let bad = [("repository", "ftp://nowhere")];
    p.send(
        "/apps/{app}/source",
        &form(settings, "/apps/looks/source", &bad),
        "ftp",
    );
    let login = [("registry_user", "ana"), ("registry_password", "secret")];
    p.send(
        "/apps/{app}/registry",
        &form(settings, "/apps/looks/registry", &login),
        "is saved",
    );
    let secret = "/apps/looks/webhook-secret";
    p.send(
        "/apps/{app}/webhook-secret",
        &form(settings, secret, &[]),
        "/hooks/looks",
    );
    let replace = "/apps/looks/webhook-secret/replace";
    p.send(
        "/apps/{app}/webhook-secret/replace",
        &form(settings, replace, &[]),
        "shown this once",
    );
    let maintenance = "/apps/looks/maintenance";
    for words in ["A maintenance page answers now", "go to the app again"] {
        p.send(
            "/apps/{app}/maintenance",
            &form(settings, maintenance, &[]),
            words,
        );
    }
}

pub fn deploys(p: &mut Person, world: &World) {
    let app = format!("/apps/{APP}");
    let at = |rest: &str| format!("{app}{rest}");
    let deploys = at("/deploys");
    p.send(
        "/apps/{app}/deploys",
        &form(&app, &deploys, &[]),
        "lain text",
    );
    p.sees_it_live();
    // One that is stopped long before it could switch.
    let dockerfile = std::fs::read_to_string(World::sample().join("Dockerfile")).unwrap();
    let copy = world.copy.as_ref().unwrap();
    copy.write("Dockerfile", &format!("{dockerfile}RUN sleep 120\n"));
    copy.push("A build that takes its time");
    p.send(
        "/apps/{app}/deploys",
        &form(&app, &deploys, &[]),
        "Follow as plain text",
    );
    let second = p.path();
    let cancel = format!("{second}/cancel");
    p.send(
        "/apps/{app}/deploys/{id}/cancel",
        &form(&second, &cancel, &[]),
        "cancelled",
    );
    p.sees(&second, &["Cancelled"], secs(120));
    // The same from the page of all long work.
    p.send(
        "/apps/{app}/deploys",
        &form(&app, &deploys, &[]),
        "Follow as plain text",
    );
    let jobs = world.fh.json(&["jobs", "--open"]);
    let jobs = jobs.as_array().unwrap().iter();
    // A backup that failed before may wait for its next try beside it, and may be cancelled, too.
    let is_it = |j: &&serde_json::Value| j["kind"] == "deploy" && j["cancellable"] == true;
    let job = jobs.clone().find(is_it);
    let cancel = format!("/jobs/{}/cancel", job.expect("no job")["id"]);
    p.send(
        "/jobs/{id}/cancel",
        &form("/jobs", &cancel, &[]),
        "is cancelled",
    );
    copy.write("Dockerfile", &dockerfile);
    copy.push("A build that does not");
    p.send(
        "/apps/{app}/rollback",
        &form(&deploys, &at("/rollback"), &[]),
        "lain text",
    );
    p.sees_it_live();
    let settings = at("/settings");
    let one = [("replicas", "1")];
    p.send(
        "/apps/{app}/scale",
        &form(&settings, &at("/scale"), &one),
        "scaled",
    );
    p.send(
        "/apps/{app}/restart",
        &form(&settings, &at("/restart"), &[]),
        "Restarting",
    );
    p.sees_it_live();
    p.send(
        "/apps/{app}/stop",
        &form(&settings, &at("/stop"), &[]),
        "is stopped",
    );
    p.send(
        "/apps/{app}/start",
        &form(&settings, &at("/start"), &[]),
        "is starting",
    );
    p.sees(&app, &["Running"], DEPLOY);
    let run = at("/run");
    let words = [("command", "printenv\nDATABASE_URL")];
    p.send("/apps/{app}/run", &form(&run, &run, &words), "exit code 0");
    assert!(
        p.browser.text().contains("postgres://"),
        "{}",
        p.browser.text()
    );
    let exec = at("/exec");
    let words = [("command", "printenv\nNO_SUCH_VARIABLE")];
    p.send(
        "/apps/{app}/exec",
        &form(&exec, &exec, &words),
        "exit code 1.",
    );
    sends_a_folder(p, &deploys);
    p.go(&at("/logs?since=1h"));
    let text = p.browser.text();
    assert!(text.contains("last 1 hour"), "{text}");
}

pub fn databases(p: &mut Person) {
    let all = "/databases";
    let name = [("name", "second")];
    p.send("/databases", &form(all, all, &name), "second");
    let second = "/databases/second";
    p.sees(second, &["Running"], secs(120));
    let attach = "/databases/second/attach";
    p.send(
        "/databases/{database}/attach",
        &form(second, attach, &[]),
        "is being attached to second",
    );
    let detach = "/databases/second/detach";
    p.send(
        "/databases/{database}/detach",
        &form(second, detach, &[]),
        "is being detached",
    );
    let env = "/apps/looks/env";
    p.sees(env, &["No database is attached"], secs(120));
    p.send(
        "/apps/{app}/attach",
        &form(env, "/apps/looks/attach", &[]),
        "is being attached",
    );
    let main = "/databases/main";
    runs_sql(p);
    let now = "/databases/main/backups";
    p.send(
        "/databases/{database}/backups",
        &form(main, now, &[]),
        "is begun",
    );
    let stored = "a[href*=\"/restore/\"]";
    until("a backup to be stored", secs(120), || {
        p.go(main);
        let found = p.browser.has(stored);
        found.then_some(()).ok_or_else(|| p.browser.text())
    });
    p.browser.click_away("form[action$=\"/verify\"] button");
    p.is_told("is unpacked to its last byte");
    p.done
        .insert("/databases/{database}/backups/{backup}/verify");
    p.browser.click_away(stored);
    let question = p.path();
    let name = typed_name(&p.browser.text());
    let route = "/databases/{database}/restore/{backup}";
    let wrong = [("typed", "something else")];
    p.send(route, &form(&question, &question, &wrong), "This is not");
    let right = [("typed", name.as_str())];
    p.send(
        route,
        &form(&question, &question, &right),
        "is being restored",
    );
    p.sees(main, &["is kept as"], secs(120));
    p.browser.click_away("a[href*=\"/restores/\"]");
    let question = p.path();
    let name = typed_name(&p.browser.text());
    let right = [("typed", name.as_str())];
    let route = "/databases/{database}/restores/{restore}/confirm";
    p.send(
        route,
        &form(&question, &question, &right),
        "is being dropped",
    );
    let remove = "/apps/looks/remove";
    let right = [("typed", "looks")];
    p.send(
        "/apps/{app}/remove",
        &form(remove, remove, &right),
        "being removed",
    );
    p.sees(second, &["None."], secs(120));
    let remove = "/databases/second/remove";
    let right = [("typed", "second")];
    p.send(
        "/databases/{database}/remove",
        &form(remove, remove, &right),
        "being removed",
    );
}

/// A file with nothing in it, and then the sample's folder.
fn sends_a_folder(p: &mut Person, deploys: &str) {
    let upload = format!("{deploys}/upload");
    let tar = tempfile::Builder::new().suffix(".tar").tempfile().unwrap();
    let name = tar.path().to_str().unwrap().to_owned();
    let fields = [("folder", name.as_str())];
    let route = "/apps/{app}/deploys/upload";
    p.send(route, &form(deploys, &upload, &fields), "There is no file");
    let packed = std::process::Command::new("tar")
        .args(["-cf", &name, "-C"])
        .arg(World::sample())
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    p.send(route, &form(deploys, &upload, &fields), "lain text");
    let deploy = p.path();
    p.sees(&deploy, &["Live", "Replaced"], DEPLOY);
}

/// Statements that print, that fail, and that are none; on the database of the app that is attached.
fn runs_sql(p: &mut Person) {
    let sql = "/databases/main/sql";
    let route = "/databases/{database}/sql";
    for (statements, words) in [
        ("SELECT 6 * 7 AS answer;", "42"),
        ("SELECT nonsense;\nSELECT 6 * 7 AS answer;", "exit code 3."),
        ("  ", "There is no statement"),
    ] {
        let fields = [("sql", statements)];
        p.send(route, &form(sql, sql, &fields), words);
        let text = p.browser.text();
        assert_eq!(text.contains("42"), words == "42", "{text}");
    }
}

/// The name that "Type … to confirm" asks for.
fn typed_name(text: &str) -> String {
    let (_, after) = text.split_once("Type ").unwrap();
    after.split_once(" to confirm").unwrap().0.to_owned()
}
