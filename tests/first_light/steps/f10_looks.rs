//! F10: every action of the dashboard without a script.

use std::collections::BTreeSet;
use std::time::Duration;

use freehold::web::table;

use crate::app::{APP, DEPLOY};
use crate::authenticator;
use crate::support::browser::Browser;
use crate::support::until::{secs, until};
use crate::world::{PASSWORD, World};

pub const PANEL: &str = "https://panel.test";
const OTHER_PASSWORD: &str = "another horse battery";

/// A person at the dashboard, who notes what was done.
struct Person {
    browser: Browser,
    done: BTreeSet<&'static str>,
}

/// A form: the page it is on, where it goes, what is typed into it.
struct Form<'a> {
    page: &'a str,
    action: &'a str,
    fields: &'a [(&'a str, &'a str)],
}

impl Person {
    fn go(&self, path: &str) {
        self.browser.go(&format!("{PANEL}{path}"));
        self.confirms();
    }

    /// Gives the password again where the page asks for it; whether it did.
    fn confirms(&self) -> bool {
        let asked = self.path().starts_with("/confirm-password");
        if asked {
            let form = "form[action=\"/confirm-password\"]";
            let field = format!("{form} [name=password]");
            self.browser.type_into(&field, PASSWORD);
            self.browser.click_away(&format!("{form} button"));
        }
        asked
    }

    fn path(&self) -> String {
        self.browser.url().replace(PANEL, "")
    }

    /// Fills the form in, sends it, and sees the answer say `words`.
    fn send(&mut self, route: &'static str, form: &Form<'_>, words: &str) {
        self.fill_in(form);
        // Nothing is repeated by itself.
        if self.confirms() {
            self.fill_in(form);
        }
        self.is_told(words);
        self.done.insert(route);
    }

    fn fill_in(&self, form: &Form<'_>) {
        self.go(form.page);
        for (name, text) in form.fields {
            let field = format!("form[action=\"{}\"] [name={name}]", form.action);
            self.browser.type_into(&field, text);
        }
        self.browser
            .click_away(&format!("form[action=\"{}\"] button", form.action));
    }

    /// Waits until the answer says `words`.
    fn is_told(&self, words: &str) {
        until(&format!("the page to say {words:?}"), secs(60), || {
            let text = self.browser.text();
            match text.contains(words) {
                true => Ok(()),
                false => Err(format!("{}: {text}", self.browser.url())),
            }
        });
    }

    /// Opens `path` again and again until it says one of `words`.
    fn sees(&self, path: &str, words: &[&str], limit: Duration) {
        until(&format!("{path} to say {words:?}"), limit, || {
            self.go(path);
            let text = self.browser.text();
            match words.iter().any(|w| text.contains(w)) {
                true => Ok(()),
                false => Err(text),
            }
        });
    }

    /// The newest deploy of `APP` ends well.
    fn sees_it_live(&self) {
        self.go(&format!("/apps/{APP}/deploys"));
        let newest = self.newest();
        self.sees(&newest, &["Live", "Replaced"], DEPLOY);
    }

    fn newest(&self) -> String {
        self.browser.click_away("main .table .row-name a");
        self.path()
    }
}

/// Every form of the dashboard, sent once by a browser that runs no script. What the table of URLs
/// has and this does not send fails it.
pub fn f10_every_action_works_without_javascript(world: &mut World) {
    let mut p = Person {
        browser: world.owner(|s| s.javascript = false),
        done: BTreeSet::new(),
    };
    colours(&mut p);
    apps(&mut p);
    deploys(&mut p, world);
    databases(&mut p);
    targets(&mut p, world);
    people(&mut p, world);
    checks_and_password(&mut p);
    let forms: BTreeSet<&str> = table()
        .iter()
        .filter(|r| r.method == "POST")
        .map(|r| r.path)
        .filter(|p| {
            !["/api/", "/hooks/", "/git/", "/setup/"]
                .iter()
                .any(|other| p.starts_with(other))
        })
        .collect();
    let missed: Vec<_> = forms.difference(&p.done).collect();
    assert!(missed.is_empty(), "not sent without JavaScript: {missed:?}");
}

fn form<'a>(page: &'a str, action: &'a str, fields: &'a [(&'a str, &'a str)]) -> Form<'a> {
    Form {
        page,
        action,
        fields,
    }
}

fn colours(p: &mut Person) {
    for theme in ["dark", "light", "auto"] {
        p.go("/box");
        p.browser
            .click_away(&format!("form[action=\"/theme\"] button[value={theme}]"));
        p.go("/box");
        let chosen = format!("html[data-theme={theme}]");
        assert!(p.browser.has(&chosen), "{chosen}");
    }
    p.done.insert("/theme");
}

fn apps(p: &mut Person) {
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

fn deploys(p: &mut Person, world: &World) {
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
    p.sees(&second, &["Cancelled"], secs(60));
    // The same from the page of all long work.
    p.send(
        "/apps/{app}/deploys",
        &form(&app, &deploys, &[]),
        "Follow as plain text",
    );
    let jobs = world.fh.json(&["jobs", "--open"]);
    let jobs = jobs.as_array().unwrap().iter();
    let job = jobs.clone().find(|j| j["cancellable"] == true);
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
    p.go(&at("/logs?since=1h"));
    let text = p.browser.text();
    assert!(text.contains("last 1 hour"), "{text}");
}

fn databases(p: &mut Person) {
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
    p.sees(env, &["No database is attached"], secs(60));
    p.send(
        "/apps/{app}/attach",
        &form(env, "/apps/looks/attach", &[]),
        "is being attached",
    );
    let main = "/databases/main";
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

/// The name that "Type … to confirm" asks for.
fn typed_name(text: &str) -> String {
    let (_, after) = text.split_once("Type ").unwrap();
    after.split_once(" to confirm").unwrap().0.to_owned()
}

fn targets(p: &mut Person, world: &World) {
    let (settings, action) = ("/settings", "/settings/targets");
    for name in ["near", "far"] {
        let folder = world.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let place = format!("dir://{}", folder.display());
        p.go(settings);
        // Open from the start only while there is no target.
        let page = match p.browser.has("details[open]") {
            true => settings,
            false => "/settings?add",
        };
        let fields = [("name", name), ("place", place.as_str())];
        p.send(
            "/settings/targets",
            &form(page, action, &fields),
            "was tried and works",
        );
    }
    let test = "/settings/targets/near/test";
    p.send(
        "/settings/targets/{target}/test",
        &form(settings, test, &[]),
        "near works",
    );
    let choose = "/settings/targets/near/use";
    p.send(
        "/settings/targets/{target}/use",
        &form(settings, choose, &[]),
        "Backups go to near",
    );
    for name in ["far", "near"] {
        let question = format!("/settings/targets/{name}/remove");
        let right = [("typed", name)];
        let route = "/settings/targets/{target}/remove";
        p.send(route, &form(&question, &question, &right), "is removed");
    }
}

/// Ana comes in, by a link that `p` makes for her.
fn comes_in(p: &mut Person, ana: &Person) {
    let (all, reset) = ("/settings/people", "/settings/people/ana@example.com/reset");
    let route = "/settings/people/{user}/reset";
    p.send(route, &form(all, reset, &[]), "A link for ana@example.com");
    let link = p.browser.text();
    let link = link.lines().find(|l| l.contains("/setup/")).unwrap();
    let (_, token) = link.trim().rsplit_once('/').unwrap();
    let browser = &ana.browser;
    browser.go(&format!("{PANEL}/setup/{token}"));
    for name in ["password", "again"] {
        browser.type_into(&format!("[name={name}]"), "ana has four words");
    }
    browser.click_away("form[action^=\"/setup/\"] button");
    assert!(browser.text().contains(APP), "{}", browser.text());
}

fn people(p: &mut Person, world: &World) {
    let all = "/settings/people";
    let bad = [("name", "two words")];
    p.send(all, &form(all, all, &bad), "cannot be a user");
    let good = [("name", "ana@example.com"), ("apps", APP)];
    p.send(all, &form(all, all, &good), "A link for ana@example.com");
    let ana = "/settings/people/ana@example.com";
    // Ana has a browser of her own.
    let mut hers = Person {
        browser: world.browser(|s| s.javascript = false),
        done: BTreeSet::new(),
    };
    let is_out = |hers: &Person| {
        hers.browser.go(&format!("{PANEL}/"));
        assert!(hers.path().contains("/sign-in"), "{}", hers.path());
    };
    comes_in(p, &hers);
    let text = hers.browser.text();
    assert!(!text.contains("Databases"), "{text}");
    puts_in_a_second_factor(&mut hers);
    let route = "/settings/people/{user}/second-factor/off";
    let off = format!("{ana}/second-factor/off");
    p.send(route, &form(ana, &off, &[]), "ana@example.com is off");
    let route = "/settings/people/{user}/sessions/end";
    let end = format!("{ana}/sessions/end");
    p.send(route, &form(ana, &end, &[]), "is ended");
    is_out(&hers);
    comes_in(p, &hers);
    let route = "/settings/people/{user}/sessions/end-all";
    let end = format!("{ana}/sessions/end-all");
    p.send(route, &form(ana, &end, &[]), "is ended");
    is_out(&hers);
    // She leaves a session behind.
    comes_in(p, &hers);
    let apps = [("apps", ", looks2")];
    let route = "/settings/people/{user}";
    p.send(route, &form(all, ana, &apps), "no app called");
    let question = format!("{ana}/remove");
    let route = "/settings/people/{user}/remove";
    let wrong = [("typed", "bob")];
    p.send(route, &form(&question, &question, &wrong), "This is not");
    let right = [("typed", "ana@example.com")];
    p.send(route, &form(&question, &question, &right), "is taken out");
    is_out(&hers);
    let tokens = "/account/tokens";
    let unnamed = [("name", " ")];
    p.send(tokens, &form("/account", tokens, &unnamed), "needs a name");
    let named = [("name", "CI")];
    p.send(tokens, &form("/account", tokens, &named), "freehold_pat_");
    let end = "/account/tokens/end";
    p.send(end, &form("/account", end, &[]), "token is ended");
    let end = "/account/sessions/end";
    p.send(end, &form("/account", end, &[]), "is ended");
}

fn checks_and_password(p: &mut Person) {
    let checks = "/checks";
    let sample = [
        ("name", "Sample"),
        ("url", "https://tasks.test/healthz?looks"),
    ];
    p.send(
        "/checks",
        &form(checks, checks, &sample),
        "is checked from now on",
    );
    p.browser.click_away("form[action$=\"/remove\"] button");
    p.is_told("The check is removed");
    p.done.insert("/checks/{id}/remove");
    let (account, action) = ("/account", "/account/password");
    p.browser
        .go(&format!("{PANEL}/confirm-password?to=/account&again=1"));
    assert!(p.confirms());
    p.is_told("do it again now");
    p.done.insert("/confirm-password");
    for (old, new) in [(PASSWORD, OTHER_PASSWORD), (OTHER_PASSWORD, PASSWORD)] {
        let fields = [("current", old), ("password", new), ("again", new)];
        p.send(action, &form(account, action, &fields), "is changed");
    }
    second_factor(p);
    p.send("/sign-out", &form(account, "/sign-out", &[]), "Sign in");
    let sign_in = "/sign-in";
    let wrong = [("password", "wrong password")];
    p.send("/sign-in", &form(sign_in, sign_in, &wrong), "is not right");
    let right = [("password", PASSWORD)];
    p.send("/sign-in", &form(sign_in, sign_in, &right), "Apps");
}

/// Puts a second factor in; a wrong code does not.
fn puts_in_a_second_factor(p: &mut Person) {
    let page = "/account/second-factor";
    p.send(page, &form(page, page, &[]), "Put the key into");
    let text = p.browser.text();
    let is_key = |l: &&str| {
        let plain = l.replace(' ', "");
        plain.len() == 32
            && plain
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    let key = authenticator::key(text.lines().map(str::trim).find(is_key).unwrap());
    let confirm = "/account/second-factor/confirm";
    let wrong = [("code", "000000")];
    p.send(confirm, &form(page, confirm, &wrong), "is not right");
    let code = authenticator::code(&key, 0);
    let right = [("code", code.as_str())];
    p.send(confirm, &form(page, confirm, &right), "Your recovery codes");
}

/// A second factor put in, asked for at sign-in, and taken out again.
fn second_factor(p: &mut Person) {
    puts_in_a_second_factor(p);
    let page = "/account/second-factor";
    let wrong = [("code", "000000")];
    let codes = "/account/second-factor/codes";
    p.send(codes, &form(page, codes, &[]), "Your recovery codes");
    let text = p.browser.text();
    let is_code = |l: &&str| l.len() == 19 && l.matches('-').count() == 3;
    let recovery = text
        .lines()
        .map(str::trim)
        .find(is_code)
        .unwrap()
        .to_owned();
    p.send("/sign-out", &form("/account", "/sign-out", &[]), "Sign in");
    let sign_in = "/sign-in";
    let password = [("password", PASSWORD)];
    p.send(sign_in, &form(sign_in, sign_in, &password), "Your code");
    let second = "/sign-in/code";
    p.send(second, &form(second, second, &wrong), "is not right");
    let right = [("code", recovery.as_str())];
    p.send(second, &form(second, second, &right), "Apps");
    let off = "/account/second-factor/off";
    p.send(off, &form(page, off, &[]), "second factor is off");
}
