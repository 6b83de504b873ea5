//! F10: every action of the dashboard without a script.

use std::collections::BTreeSet;
use std::time::Duration;

use freehold::web::table;

use crate::app::{APP, DEPLOY};
use crate::support::browser::Browser;
use crate::support::until::{secs, until};
use crate::world::{PASSWORD, World};

use super::f10_app_actions::{apps, databases, deploys};
use super::f10_settings_actions::{checks_and_password, people, targets};

pub const PANEL: &str = "https://panel.test";

/// A person at the dashboard, who notes what was done.
pub struct Person {
    pub browser: Browser,
    pub done: BTreeSet<&'static str>,
}

/// A form: the page it is on, where it goes, what is typed into it.
pub struct Form<'a> {
    pub page: &'a str,
    pub action: &'a str,
    pub fields: &'a [(&'a str, &'a str)],
}

impl Person {
    pub fn go(&self, path: &str) {
        self.browser.go(&format!("{PANEL}{path}"));
        self.confirms();
    }

    /// Gives the password again where the page asks for it; whether it did.
    pub fn confirms(&self) -> bool {
        let asked = self.path().starts_with("/confirm-password");
        if asked {
            let form = "form[action=\"/confirm-password\"]";
            let field = format!("{form} [name=password]");
            self.browser.type_into(&field, PASSWORD);
            self.browser.click_away(&format!("{form} button"));
        }
        asked
    }

    pub fn path(&self) -> String {
        self.browser.url().replace(PANEL, "")
    }

    /// Fills the form in, sends it, and sees the answer say `words`.
    pub fn send(&mut self, route: &'static str, form: &Form<'_>, words: &str) {
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
    pub fn is_told(&self, words: &str) {
        until(&format!("the page to say {words:?}"), secs(120), || {
            let text = self.browser.text();
            match text.contains(words) {
                true => Ok(()),
                false => Err(format!("{}: {text}", self.browser.url())),
            }
        });
    }

    /// Opens `path` again and again until it says one of `words`.
    pub fn sees(&self, path: &str, words: &[&str], limit: Duration) {
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
    pub fn sees_it_live(&self) {
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
    super::a5_told::a5_what_was_run_and_backed_up_is_told(world);
}

pub fn form<'a>(page: &'a str, action: &'a str, fields: &'a [(&'a str, &'a str)]) -> Form<'a> {
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
