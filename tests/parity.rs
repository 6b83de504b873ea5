//! A1: what one surface can do the others can. Every operation of the API stands here with its verb of the command
//! line and its page; where one is missing on purpose, the reason stands in its place. And the other way round: every
//! page that changes something is named by an operation, or says which one it is the same as, and asks as much of its
//! caller as that one does.

use std::collections::BTreeSet;
use std::process::Command;

use freehold::web::{Route, table};

/// Where something is, or why it is not there.
enum Side {
    Has(&'static str),
    Not(&'static str),
}

use Side::{Has, Not};

const STREAM: &str = "a page's own script reads the page again";
const OWN: &str = "the command line comes in by a token or the socket, which have no second factor and no session";
const HANDOVER: &str = "it follows another program that somebody has put on the box, who is there";
const WHOLE: &str = "the list says the same";

/// Operation of the API, verb of the command line, row of a page.
#[rustfmt::skip]
const ALL: &[(&str, Side, Side)] = &[
    ("health.show", Has("status"), Not("the page that answers shows it")),
    ("openapi.show", Not("tools read it"), Not("tools read it")),
    ("certificate.root", Has("login"), Has("GET /settings/ca.pem")),
    ("status.show", Has("status"), Has("GET /")),
    ("session.show", Not("the command line has no session"), Has("GET /account")),
    ("session.confirm", Not("the command line has no session"), Has("POST /confirm-password")),
    ("overview.show", Has("top"), Has("GET /")),
    ("routes.show", Has("status"), Has("GET /routes")),
    ("users.setup_link", Has("user reset"), Not("who is locked out reaches no page")),
    ("users.list", Has("user list"), Has("GET /settings/people")),
    ("users.show", Has("user list"), Has("GET /settings/people")),
    ("users.invite", Has("user add"), Has("POST /settings/people")),
    ("users.change", Has("user change"), Has("POST /settings/people/{user}")),
    ("users.remove", Has("user rm"), Has("POST /settings/people/{user}/remove")),
    ("users.reset", Has("user reset"), Has("POST /settings/people/{user}/reset")),
    ("tokens.list", Has("token list"), Has("GET /account")),
    ("tokens.show", Not(WHOLE), Not(WHOLE)),
    ("tokens.create", Has("token add"), Has("POST /account/tokens")),
    ("tokens.remove", Has("token rm"), Has("POST /account/tokens/end")),
    ("apps.list", Has("app list"), Has("GET /")),
    ("apps.create", Has("app create"), Has("POST /apps")),
    ("apps.show", Has("app show"), Has("GET /apps/{app}")),
    ("apps.change", Has("app set"), Has("POST /apps/{app}/source")),
    ("apps.remove", Has("app rm"), Has("POST /apps/{app}/remove")),
    ("apps.start", Has("app start"), Has("POST /apps/{app}/start")),
    ("apps.stop", Has("app stop"), Has("POST /apps/{app}/stop")),
    ("apps.restart", Has("app restart"), Has("POST /apps/{app}/restart")),
    ("apps.replace_webhook_secret", Has("app webhook"), Has("POST /apps/{app}/webhook-secret/replace")),
    ("apps.reveal_webhook_secret", Has("app webhook"), Has("POST /apps/{app}/webhook-secret")),
    ("env.reveal", Has("env"), Has("POST /apps/{app}/env/reveal")),
    ("audit.list", Has("audit"), Has("GET /settings/audit")),
    ("audit.export", Has("audit"), Has("GET /settings/audit")),
    ("doctor.show", Has("doctor"), Has("GET /box/doctor")),
    ("doctor.confirm", Has("doctor"), Not("who confirms a state that was made anew has looked at the box; the page says what to type")),
    ("handover.show", Has("reload"), Not(HANDOVER)),
    ("handover.begin", Has("reload"), Not(HANDOVER)),
    ("second_factor.show", Has("user list"), Has("GET /account")),
    ("second_factor.offer", Not(OWN), Has("POST /account/second-factor")),
    ("second_factor.confirm", Not(OWN), Has("POST /account/second-factor/confirm")),
    ("second_factor.recovery_codes", Not(OWN), Has("POST /account/second-factor/codes")),
    ("second_factor.remove", Not(OWN), Has("POST /account/second-factor/off")),
    ("users.remove_second_factor", Has("user second-factor-off"), Has("POST /settings/people/{user}/second-factor/off")),
    ("sessions.list", Not(OWN), Has("GET /account")),
    ("sessions.end", Not(OWN), Has("POST /account/sessions/end")),
    ("sessions.list_of", Has("user sessions"), Has("GET /settings/people/{user}")),
    ("sessions.end_of", Has("user sessions"), Has("POST /settings/people/{user}/sessions/end")),
    ("sessions.end_all_of", Has("user sessions"), Has("POST /settings/people/{user}/sessions/end-all")),
    ("databases.reveal", Has("db url"), Has("POST /apps/{app}/env/reveal")),
    ("account.password", Not(OWN), Has("POST /account/password")),
    ("env.list", Has("env"), Has("GET /apps/{app}/env")),
    ("env.change", Has("env"), Has("POST /apps/{app}/env")),
    ("domains.list", Has("domain list"), Has("GET /apps/{app}/domains")),
    ("domains.add", Has("domain add"), Has("POST /apps/{app}/domains")),
    ("domains.remove", Has("domain rm"), Has("POST /apps/{app}/domains/remove")),
    ("policies.show", Has("domain show"), Has("GET /apps/{app}/domains/{domain}/policies")),
    ("policies.set", Has("domain set"), Has("POST /apps/{app}/domains/{domain}/policies")),
    ("policies.remove", Has("domain set"), Has("POST /apps/{app}/domains/{domain}/policies")),
    ("domains.maintenance", Has("maintenance"), Has("POST /apps/{app}/maintenance")),
    ("domains.scale", Has("scale"), Has("POST /apps/{app}/scale")),
    ("deploys.list", Has("deploys"), Has("GET /apps/{app}/deploys")),
    ("deploys.create", Has("deploy"), Has("POST /apps/{app}/deploys")),
    ("deploys.upload", Has("deploy"), Has("POST /apps/{app}/deploys/upload")),
    ("deploys.show", Has("deploys"), Has("GET /apps/{app}/deploys/{id}")),
    ("deploys.log", Has("deploy"), Has("GET /apps/{app}/deploys/{id}/log")),
    ("deploys.cancel", Has("cancel"), Has("POST /apps/{app}/deploys/{id}/cancel")),
    ("deploys.rollback", Has("rollback"), Has("POST /apps/{app}/rollback")),
    ("deploys.releases", Has("releases"), Has("GET /apps/{app}/deploys")),
    ("deploys.deliveries", Has("deliveries"), Has("GET /apps/{app}/settings")),
    ("app_logs.show", Has("logs"), Has("GET /apps/{app}/logs")),
    ("app_logs.exec", Has("exec"), Has("POST /apps/{app}/exec")),
    ("app_logs.run", Has("run"), Has("POST /apps/{app}/run")),
    ("jobs.list", Has("jobs"), Has("GET /jobs")),
    ("jobs.show", Has("job show"), Has("GET /jobs")),
    ("jobs.follow", Has("job follow"), Not(STREAM)),
    ("jobs.cancel", Has("job cancel"), Has("POST /jobs/{id}/cancel")),
    ("events.list", Has("events"), Has("GET /activity")),
    ("events.of_app", Has("events"), Has("GET /apps/{app}/activity")),
    ("events.stream", Has("events"), Not(STREAM)),
    ("metrics.of_box", Has("metrics"), Has("GET /box")),
    ("metrics.of_app", Has("metrics"), Has("GET /apps/{app}")),
    ("checks.list", Has("check list"), Has("GET /checks")),
    ("checks.show", Not(WHOLE), Not(WHOLE)),
    ("checks.add", Has("check add"), Has("POST /checks")),
    ("checks.remove", Has("check rm"), Has("POST /checks/{id}/remove")),
    ("checks.incidents", Has("check incidents"), Has("GET /checks")),
    ("databases.list", Has("db list"), Has("GET /databases")),
    ("databases.create", Has("db create"), Has("POST /databases")),
    ("databases.show", Has("db show"), Has("GET /databases/{database}")),
    ("databases.remove", Has("db rm"), Has("POST /databases/{database}/remove")),
    ("databases.attach", Has("db attach"), Has("POST /databases/{database}/attach")),
    ("databases.detach", Has("db detach"), Has("POST /databases/{database}/detach")),
    ("databases.psql", Has("db psql"), Has("POST /databases/{database}/sql")),
    ("backups.now", Has("backup now"), Has("POST /databases/{database}/backups")),
    ("backups.list", Has("backup list"), Has("GET /databases/{database}")),
    ("backups.show", Has("backup show"), Has("GET /databases/{database}")),
    ("backups.verify", Has("backup verify"), Has("POST /databases/{database}/backups/{backup}/verify")),
    ("backups.restore", Has("backup restore"), Has("POST /databases/{database}/restore/{backup}")),
    ("backups.download", Has("backup download"), Has("GET /databases/{database}/backups/{backup}/download")),
    ("backups.restores", Has("backup restores"), Has("GET /databases/{database}")),
    ("backups.show_restore", Has("backup restores"), Has("GET /databases/{database}")),
    ("backups.confirm", Has("backup confirm"), Has("POST /databases/{database}/restores/{restore}/confirm")),
    ("targets.list", Has("target list"), Has("GET /settings")),
    ("targets.show", Not(WHOLE), Not(WHOLE)),
    ("targets.add", Has("target add"), Has("POST /settings/targets")),
    ("targets.remove", Has("target rm"), Has("POST /settings/targets/{target}/remove")),
    ("targets.test", Has("target test"), Has("POST /settings/targets/{target}/test")),
    ("targets.make_default", Has("target use"), Has("POST /settings/targets/{target}/use")),
];

/// Pages that change something and are no operation's own page above: the operation each is the same as.
#[rustfmt::skip]
const PAGES: &[(&str, Side)] = &[
    ("POST /setup/{token}", Not("a link is opened in a browser; what it gives there is a session")),
    ("POST /sign-in", Not("a program comes in by a token; a session is a browser's")),
    ("POST /sign-in/code", Not("a program comes in by a token; a session is a browser's")),
    ("POST /sign-out", Has("sessions.end")),
    ("POST /theme", Not("a cookie of the browser that asks; nothing on the box differs")),
    ("POST /apps/{app}/registry", Has("apps.change")),
    ("POST /apps/{app}/env/unset", Has("env.change")),
    ("POST /apps/{app}/env/import", Has("env.change")),
    ("POST /apps/{app}/attach", Has("databases.attach")),
    ("POST /hooks/{app}", Not("git hosts speak to it, in their own words")),
];

/// What is wrong with the way from these pages to the operations.
fn from_pages(rows: &[Route], more: &[(&str, Side)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let named = |r: &Route| format!("{} {}", r.method, r.path);
    let operation = |id: &str| {
        let mut all = rows.iter();
        all.find(|r| {
            r.api
                .as_ref()
                .is_some_and(|a| a.id.replace("::", ".") == id)
        })
    };
    let changes = |r: &&Route| r.api.is_none() && !r.method.is_safe();
    for page in rows.iter().filter(changes) {
        let name = named(page);
        let above = ALL.iter().filter_map(|(id, _, side)| match side {
            Has(page) if *page == name => Some(*id),
            _ => None,
        });
        let here = more.iter().filter(|(page, _)| *page == name);
        let mut same: Vec<&str> = above.collect();
        match (here.map(|(_, side)| side).next(), same.is_empty()) {
            (None, true) => wrong.push(format!("{name}: which operation is it the same as?")),
            (None, false) => {}
            (Some(_), false) => wrong.push(format!("{name}: is {same:?} already")),
            (Some(Has(id)), true) => same.push(id),
            (Some(Not(why)), true) if why.split(' ').count() < 3 => {
                wrong.push(format!("{name}: {why:?} is no reason"));
            }
            (Some(Not(_)), true) => {}
        }
        for id in same {
            let Some(other) = operation(id) else {
                wrong.push(format!("{name}: the API has no {id}"));
                continue;
            };
            if (page.needs, page.sudo) != (other.needs, other.sudo) {
                wrong.push(format!(
                    "{name} needs {:?} (password again: {}), {id} needs {:?} ({})",
                    page.needs, page.sudo, other.needs, other.sudo
                ));
            }
        }
    }
    for (page, _) in more {
        if !rows.iter().filter(changes).any(|r| named(r) == *page) {
            wrong.push(format!("{page}: there is no such page"));
        }
    }
    wrong
}

#[test]
fn a1_what_a_page_can_do_the_api_can() {
    let wrong = from_pages(&table(), PAGES);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The saboteurs: a page of which nobody says what it is, one that is said twice, one that is no page, and one that asks
/// less of its caller than the operation does.
#[test]
fn a1_a_page_that_is_no_operation_fails_the_walk() {
    let rows = table();
    let without: Vec<_> = from_pages(&rows, &[]);
    assert_eq!(without.len(), PAGES.len(), "{}", without.join("\n"));
    let more = [
        ("POST /apps/{app}/stop", Has("apps.start")),
        ("POST /apps/{app}/gone", Has("apps.stop")),
        ("POST /theme", Has("apps.remove")),
    ];
    let found = from_pages(&rows, &more);
    let told = |words: &str| found.iter().any(|w| w.contains(words));
    assert!(told("is [\"apps.stop\"] already"), "{found:?}");
    assert!(
        told("/theme needs Nobody (password again: false), apps.remove needs ChangeApp (true)"),
        "{found:?}"
    );
    assert!(told("/gone: there is no such page"), "{found:?}");
}

#[test]
fn a1_what_one_surface_can_do_the_others_can() {
    let mut wrong = Vec::new();
    let rows = table();
    let operations: BTreeSet<String> = rows
        .iter()
        .filter_map(|r| r.api.as_ref())
        .map(|api| api.id.replace("::", "."))
        .collect();
    let listed: BTreeSet<String> = ALL.iter().map(|(name, ..)| (*name).to_owned()).collect();
    for missing in operations.difference(&listed) {
        wrong.push(format!(
            "{missing}: no line here says where it is on the other surfaces"
        ));
    }
    for gone in listed.difference(&operations) {
        wrong.push(format!("{gone}: the API has it no more"));
    }
    let pages: BTreeSet<String> = rows
        .iter()
        .filter(|r| r.api.is_none())
        .map(|r| format!("{} {}", r.method, r.path))
        .collect();
    let verbs: BTreeSet<&str> = ALL
        .iter()
        .filter_map(|(_, verb, _)| match verb {
            Has(verb) => Some(*verb),
            Not(_) => None,
        })
        .collect();
    for verb in verbs {
        let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
            .args(verb.split(' '))
            .arg("--help")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if !out.status.success() || !text.contains(&format!("Usage: freehold {verb}")) {
            wrong.push(format!("freehold {verb}: no such verb"));
        }
    }
    for (name, verb, page) in ALL {
        if let Has(page) = page
            && !pages.contains(*page)
        {
            wrong.push(format!("{name}: no page {page}"));
        }
        for side in [verb, page] {
            if let Not(why) = side
                && why.split(' ').count() < 3
            {
                wrong.push(format!("{name}: {why:?} is no reason"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
