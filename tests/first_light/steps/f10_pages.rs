//! F10: every page in both themes, on a phone and on a desk: those of the dashboard, the questions it asks before
//! something ends, its errors, and the doors a stranger stands before.

use std::path::PathBuf;

use super::f10_looks::PANEL;
use crate::app::APP;
use crate::authenticator;
use crate::support::browser::Browser;
use crate::world::{PASSWORD, World};

const GUEST: &str = "guest@example.com";
const ASKED_IN: &str = "asked@example.com";
const GUESTS_PASSWORD: &str = "a guest has five words";

/// What one look at everything finds.
struct Look<'a> {
    theme: &'static str,
    width: u32,
    screens: Option<&'a PathBuf>,
    faults: &'a mut Vec<String>,
}

impl Look<'_> {
    /// The page that is open now.
    fn at(&mut self, browser: &Browser, name: &str) {
        let (theme, width) = (self.theme, self.width);
        let place = format!("{name} at {} ({theme}, {width} px)", browser.url());
        let found = browser.accessibility_faults().into_iter();
        self.faults.extend(found.map(|f| format!("{place}: {f}")));
        match browser.sideways_scroll() {
            (0, _) => {}
            (more, who) => {
                let wide = format!("{place}: {more} px wider than the window: {who}");
                self.faults.push(wide);
            }
        }
        if let Some(folder) = self.screens {
            std::fs::create_dir_all(folder).unwrap();
            browser.screenshot(&folder.join(format!("{name}-{theme}-{width}.png")));
        }
    }
}

/// Every page in either theme, on a phone and on a desk: axe finds nothing serious, nothing is wider
/// than the window. With FREEHOLD_SCREENS=FOLDER each is kept as a picture.
pub fn f10_nothing_serious_in_either_theme_and_no_sideways_scroll(world: &mut World) {
    let screens = std::env::var_os("FREEHOLD_SCREENS").map(PathBuf::from);
    let pages = pages(world);
    let asked_in = link(world, ASKED_IN);
    guest(world);
    let mut faults = Vec::new();
    for dark in [false, true] {
        for width in [390, 1440] {
            let mut look = Look {
                theme: if dark { "dark" } else { "light" },
                width,
                screens: screens.as_ref(),
                faults: &mut faults,
            };
            let open = |who: fn(&World, bool, u32) -> Browser| who(world, dark, width);
            inside(&mut look, &open(owner), &pages);
            before_the_door(&mut look, &open(stranger), &asked_in);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn owner(world: &World, dark: bool, width: u32) -> Browser {
    world.owner(|s| {
        s.dark = dark;
        s.size = (width, 900);
    })
}

fn stranger(world: &World, dark: bool, width: u32) -> Browser {
    world.browser(|s| {
        s.dark = dark;
        s.size = (width, 900);
    })
}

fn inside(look: &mut Look<'_>, browser: &Browser, pages: &[(&'static str, String)]) {
    // Said by the page itself, so that the picture does not hang on the browser's own idea.
    let theme = look.theme;
    browser.click_away(&format!("form[action=\"/theme\"] button[value={theme}]"));
    for (name, path) in pages {
        browser.go(&format!("{PANEL}{path}"));
        if browser.url().contains("/confirm-password") {
            look.at(browser, "confirm-password");
            browser.type_into("main [name=password]", PASSWORD);
            browser.click_away("form[action=\"/confirm-password\"] button");
        }
        look.at(browser, name);
    }
}

fn before_the_door(look: &mut Look<'_>, browser: &Browser, asked_in: &str) {
    browser.go(asked_in);
    look.at(browser, "setup");
    browser.type_into("[name=password]", "short");
    browser.type_into("[name=again]", "short");
    browser.click_away("form[action^=\"/setup/\"] button");
    look.at(browser, "setup-refused");
    browser.go(&format!("{PANEL}/setup/no-such-link"));
    look.at(browser, "setup-over");
    let sign_in = |password: &str| {
        browser.go(&format!("{PANEL}/sign-in"));
        browser.script("document.querySelector('[name=name]').value = ''");
        browser.type_into("[name=name]", GUEST);
        browser.type_into("[name=password]", password);
    };
    sign_in("not the guest's");
    look.at(browser, "sign-in");
    browser.click_away("form[action=\"/sign-in\"] button");
    look.at(browser, "sign-in-refused");
    sign_in(GUESTS_PASSWORD);
    browser.click_away("form[action=\"/sign-in\"] button");
    look.at(browser, "sign-in-code");
    browser.type_into("[name=code]", "000000");
    browser.click_away("form[action=\"/sign-in/code\"] button");
    look.at(browser, "sign-in-code-refused");
}

/// What the owner opens, with something on each page.
fn pages(world: &World) -> Vec<(&'static str, String)> {
    let deploy = world.newest_deploy_id();
    let folder = world.path("gallery");
    std::fs::create_dir_all(&folder).unwrap();
    let place = format!("dir://{}", folder.display());
    world.fh.cli(&["target", "add", "gallery", &place]);
    world.fh.cli(&["backup", "now", "main"]);
    let backups = world.fh.json(&["backup", "list", "main"]);
    let backup = backups[0]["id"].to_string();
    world.fh.cli(&["backup", "restore", &backup, "--yes"]);
    let restores = world.fh.json(&["backup", "restores", "main"]);
    let restore = &restores[0]["id"];
    let app = |rest: &str| format!("/apps/{APP}{rest}");
    vec![
        ("overview", "/".to_owned()),
        ("box-activity", "/activity".to_owned()),
        ("app", app("")),
        ("app-week", app("?over=week")),
        ("deploys", app("/deploys")),
        ("deploy", app(&format!("/deploys/{deploy}"))),
        ("logs", app("/logs")),
        ("env", app("/env")),
        ("domains", app("/domains")),
        ("domain-policies", app("/domains/tasks.test/policies")),
        ("activity", app("/activity")),
        ("app-settings", app("/settings")),
        ("app-run", app("/run")),
        ("app-exec", app("/exec")),
        ("app-remove", app("/remove")),
        ("new-app", "/apps/new".to_owned()),
        ("databases", "/databases".to_owned()),
        ("database", "/databases/main".to_owned()),
        ("database-sql", "/databases/main/sql".to_owned()),
        ("database-remove", "/databases/main/remove".to_owned()),
        ("restore", format!("/databases/main/restore/{backup}")),
        (
            "restore-confirm",
            format!("/databases/main/restores/{restore}/confirm"),
        ),
        ("box", "/box".to_owned()),
        ("doctor", "/box/doctor".to_owned()),
        ("routes", "/routes".to_owned()),
        ("jobs", "/jobs".to_owned()),
        ("audit", "/settings/audit".to_owned()),
        ("checks", "/checks".to_owned()),
        ("settings", "/settings".to_owned()),
        (
            "target-remove",
            "/settings/targets/gallery/remove".to_owned(),
        ),
        ("people", "/settings/people".to_owned()),
        ("person", format!("/settings/people/{GUEST}")),
        (
            "person-remove",
            format!("/settings/people/{ASKED_IN}/remove"),
        ),
        ("account", "/account".to_owned()),
        ("second-factor", "/account/second-factor".to_owned()),
        ("nothing-here", "/nothing/here".to_owned()),
        // The last: what is asked here is answered, and leads to the page of the account.
        (
            "account-confirmed",
            "/confirm-password?to=/account&again=1".to_owned(),
        ),
    ]
}

/// Asks somebody in; the link.
fn link(world: &World, name: &str) -> String {
    let asked = world.fh.json(&["user", "add", name, "--role", "viewer"]);
    asked["link"].as_str().unwrap().to_owned()
}

/// A person who is asked for a code at the door.
fn guest(world: &World) {
    let browser = world.browser(|_| {});
    browser.go(&link(world, GUEST));
    for field in ["password", "again"] {
        browser.type_into(&format!("[name={field}]"), GUESTS_PASSWORD);
    }
    browser.click_away("form[action^=\"/setup/\"] button");
    browser.go(&format!("{PANEL}/account/second-factor"));
    browser.click_away("form[action=\"/account/second-factor\"] button");
    let key = browser.script("return document.getElementById('key').textContent");
    let code = authenticator::code(&authenticator::key(key.as_str().unwrap()), 0);
    let confirm = "form[action=\"/account/second-factor/confirm\"]";
    browser.type_into(&format!("{confirm} [name=code]"), &code);
    browser.click_away(&format!("{confirm} button"));
    assert!(browser.has("#recovery-codes"), "{}", browser.text());
}
