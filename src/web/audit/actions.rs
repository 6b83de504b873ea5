//! What each route is called in the audit log. Every unsafe route stands here, or below with the reason why not.
//!
//! The names are stable: pages and API have the same one for the same thing. A
//! route that was forgotten is recorded all the same, under a name made of its
//! path, and a test says that it was forgotten.

use std::borrow::Cow;

use axum::http::Method;

/// What an action is about: where its subject is found and what may differ after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The settings of the app in the path.
    App,
    /// What that app runs: deploys, releases, started or stopped.
    Traffic,
    /// A command in one of that app's containers.
    Command,
    /// Secrets of that app; which ones the body says.
    Reveal,
    /// The app in the path and the database whose URL it is given.
    Attachment,
    /// A push that a git host tells of.
    Push,
    /// A database and the apps on it.
    Database,
    /// A backup target.
    Target,
    /// A backup.
    Backup,
    /// A restore.
    Restore,
    /// A check.
    Check,
    /// A user, or somebody asked in.
    User,
    /// A token.
    Token,
    /// Whoever acts, themselves.
    Account,
    /// Whoever the one-time link in the path is for.
    Link,
    /// The owner, who comes in again by a link made on the box.
    Owner,
    /// Whoever the form names.
    SignIn,
    /// Whoever gave their password a moment ago.
    HalfWay,
    /// A job, and what it brings.
    Job,
    /// The box itself; or what a route does that stands in no list, of which nothing is known.
    Box,
}

/// One kind of thing that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name: `app.env.change`.
    pub name: Cow<'static, str>,
    /// What it is about.
    pub about: About,
}

type Row = (Method, &'static str, &'static str, About);

macro_rules! actions {
    ($($method:ident $path:literal $name:literal $about:ident;)*) => {
        &[$((Method::$method, $path, $name, About::$about)),*]
    };
}

#[rustfmt::skip]
const ACTIONS: &[Row] = actions! {
    // Coming in
    POST "/setup/{token}"                   "user.set-up"           Link;
    POST "/sign-in"                         "session.sign-in"       SignIn;
    POST "/sign-in/code"                    "session.code"          HalfWay;
    POST "/sign-out"                        "session.sign-out"      Account;
    POST "/confirm-password"                "session.confirm"       Account;
    POST "/api/v1/session/confirm"          "session.confirm"       Account;
    POST "/account/password"                "account.password"      Account;
    POST "/api/v1/account/password"         "account.password"      Account;
    POST "/account/sessions/end"            "session.end"           Account;
    DELETE "/api/v1/sessions/{mark}"        "session.end"           Account;
    POST "/settings/people/{user}/sessions/end" "session.end"       User;
    POST "/settings/people/{user}/sessions/end-all" "session.end"   User;
    DELETE "/api/v1/users/{user}/sessions"  "session.end"           User;
    DELETE "/api/v1/users/{user}/sessions/{mark}" "session.end"     User;
    POST "/account/second-factor"           "second-factor.enrol"   Account;
    POST "/api/v1/account/second-factor"    "second-factor.enrol"   Account;
    POST "/account/second-factor/confirm"   "second-factor.on"      Account;
    POST "/api/v1/account/second-factor/confirm" "second-factor.on" Account;
    POST "/account/second-factor/codes"     "second-factor.codes"   Account;
    POST "/api/v1/account/second-factor/recovery-codes" "second-factor.codes" Account;
    POST "/account/second-factor/off"       "second-factor.off"     Account;
    DELETE "/api/v1/account/second-factor"  "second-factor.off"     Account;
    POST "/settings/people/{user}/second-factor/off" "second-factor.off" User;
    DELETE "/api/v1/users/{user}/second-factor" "second-factor.off" User;
    POST "/account/tokens"                  "token.create"          Token;
    POST "/account/tokens/end"              "token.end"             Token;
    POST "/api/v1/tokens"                   "token.create"          Token;
    DELETE "/api/v1/tokens/{id}"            "token.end"             Token;
    POST "/api/v1/setup-link"               "user.setup-link"       Owner;
    POST "/settings/people"                 "user.invite"           User;
    POST "/api/v1/users"                    "user.invite"           User;
    POST "/settings/people/{user}"          "user.change"           User;
    PATCH "/api/v1/users/{user}"            "user.change"           User;
    POST "/settings/people/{user}/reset"    "user.reset"            User;
    POST "/api/v1/users/{user}/reset"       "user.reset"            User;
    POST "/settings/people/{user}/remove"   "user.remove"           User;
    DELETE "/api/v1/users/{user}"           "user.remove"           User;
    // Apps
    POST "/apps"                            "app.create"            App;
    POST "/api/v1/apps"                     "app.create"            App;
    PATCH "/api/v1/apps/{app}"              "app.change"            App;
    POST "/apps/{app}/source"               "app.change"            App;
    POST "/apps/{app}/registry"             "app.change"            App;
    POST "/apps/{app}/remove"               "app.remove"            App;
    DELETE "/api/v1/apps/{app}"             "app.remove"            App;
    POST "/apps/{app}/env"                  "app.env.change"        App;
    POST "/apps/{app}/env/unset"            "app.env.change"        App;
    POST "/apps/{app}/env/import"           "app.env.change"        App;
    PATCH "/api/v1/apps/{app}/env"          "app.env.change"        App;
    POST "/apps/{app}/domains"              "app.domain.add"        App;
    POST "/api/v1/apps/{app}/domains"       "app.domain.add"        App;
    POST "/apps/{app}/domains/remove"       "app.domain.remove"     App;
    DELETE "/api/v1/apps/{app}/domains"     "app.domain.remove"     App;
    POST "/apps/{app}/domains/{domain}/policies" "app.domain.policies" App;
    PUT "/api/v1/apps/{app}/domains/{domain}/policies" "app.domain.policies" App;
    DELETE "/api/v1/apps/{app}/domains/{domain}/policies" "app.domain.policies" App;
    POST "/apps/{app}/maintenance"          "app.maintenance"       App;
    POST "/api/v1/apps/{app}/maintenance"   "app.maintenance"       App;
    POST "/apps/{app}/scale"                "app.scale"             App;
    POST "/api/v1/apps/{app}/scale"         "app.scale"             App;
    POST "/apps/{app}/webhook-secret/replace" "app.webhook-secret.replace" App;
    POST "/api/v1/apps/{app}/webhook-secret" "app.webhook-secret.replace" App;
    // Secrets that are shown
    POST "/apps/{app}/env/reveal"           "app.env.reveal"        Reveal;
    POST "/api/v1/apps/{app}/env/reveal"    "app.env.reveal"        Reveal;
    POST "/apps/{app}/webhook-secret"       "app.webhook-secret.reveal" Reveal;
    POST "/api/v1/apps/{app}/webhook-secret/reveal" "app.webhook-secret.reveal" Reveal;
    POST "/api/v1/databases/{name}/attachments/{app}/reveal" "database.url.reveal" Attachment;
    GET  "/databases/{database}/backups/{backup}/download" "backup.download" Backup;
    GET  "/api/v1/backups/{id}/download"    "backup.download"       Backup;
    // What runs
    POST "/apps/{app}/deploys"              "app.deploy"            Traffic;
    POST "/api/v1/apps/{app}/deploys"       "app.deploy"            Traffic;
    POST "/apps/{app}/deploys/upload"       "app.deploy"            Traffic;
    POST "/api/v1/apps/{app}/deploys/upload" "app.deploy"           Traffic;
    POST "/apps/{app}/deploys/{id}/cancel"  "app.deploy.cancel"     Traffic;
    POST "/api/v1/apps/{app}/deploys/{id}/cancel" "app.deploy.cancel" Traffic;
    POST "/apps/{app}/rollback"             "app.rollback"          Traffic;
    POST "/api/v1/apps/{app}/rollback"      "app.rollback"          Traffic;
    POST "/apps/{app}/restart"              "app.restart"           Traffic;
    POST "/api/v1/apps/{app}/restart"       "app.restart"           Traffic;
    POST "/apps/{app}/start"                "app.start"             Traffic;
    POST "/api/v1/apps/{app}/start"         "app.start"             Traffic;
    POST "/apps/{app}/stop"                 "app.stop"              Traffic;
    POST "/api/v1/apps/{app}/stop"          "app.stop"              Traffic;
    POST "/hooks/{app}"                     "app.push"              Push;
    POST "/apps/{app}/exec"                 "app.exec"              Command;
    POST "/api/v1/apps/{app}/exec"          "app.exec"              Command;
    POST "/apps/{app}/run"                  "app.run"               Command;
    POST "/api/v1/apps/{app}/run"           "app.run"               Command;
    // Databases and their backups
    POST "/databases"                       "database.create"       Database;
    POST "/api/v1/databases"                "database.create"       Database;
    POST "/databases/{database}/remove"     "database.remove"       Database;
    DELETE "/api/v1/databases/{name}"       "database.remove"       Database;
    POST "/databases/{database}/attach"     "database.attach"       Database;
    POST "/apps/{app}/attach"               "database.attach"       App;
    POST "/api/v1/databases/{name}/attachments" "database.attach"   Database;
    POST "/databases/{database}/detach"     "database.detach"       Database;
    DELETE "/api/v1/databases/{name}/attachments/{app}" "database.detach" Database;
    POST "/databases/{database}/sql"        "database.psql"         Database;
    POST "/api/v1/databases/{name}/psql"    "database.psql"         Database;
    POST "/databases/{database}/backups"    "backup.create"         Database;
    POST "/api/v1/databases/{name}/backups" "backup.create"         Database;
    POST "/databases/{database}/backups/{backup}/verify" "backup.verify" Backup;
    POST "/api/v1/backups/{id}/verify"      "backup.verify"         Backup;
    POST "/databases/{database}/restore/{backup}" "backup.restore"  Backup;
    POST "/api/v1/backups/{id}/restore"     "backup.restore"        Backup;
    POST "/databases/{database}/restores/{restore}/confirm" "restore.confirm" Restore;
    POST "/api/v1/restores/{id}/confirm"    "restore.confirm"       Restore;
    POST "/settings/targets"                "target.add"            Target;
    POST "/api/v1/targets"                  "target.add"            Target;
    POST "/settings/targets/{target}/test"  "target.test"           Target;
    POST "/api/v1/targets/{name}/test"      "target.test"           Target;
    POST "/settings/targets/{target}/use"   "target.default"        Target;
    POST "/api/v1/targets/{name}/default"   "target.default"        Target;
    POST "/settings/targets/{target}/remove" "target.remove"        Target;
    DELETE "/api/v1/targets/{name}"         "target.remove"         Target;
    POST "/jobs/{id}/cancel"                "job.cancel"            Job;
    POST "/api/v1/jobs/{id}/cancel"         "job.cancel"            Job;
    POST "/checks"                          "check.add"             Check;
    POST "/api/v1/checks"                   "check.add"             Check;
    POST "/api/v1/doctor/confirm"           "state.confirm"         Box;
    POST "/api/v1/handover"                 "box.handover"          Box;
    POST "/checks/{id}/remove"              "check.remove"          Check;
    DELETE "/api/v1/checks/{check}"         "check.remove"          Check;
};

/// Unsafe routes that are not recorded, and why.
const EXEMPT: &[(&str, &str)] = &[(
    "/theme",
    "sets a cookie of the browser that asks; nothing on the box differs",
)];

/// What a request to this route does; `None` when it only looks, or is exempt.
pub fn of(method: &Method, path: &str) -> Option<Action> {
    if let Some((_, _, name, about)) = ACTIONS.iter().find(|(m, p, ..)| m == method && *p == path) {
        return Some(Action {
            name: Cow::Borrowed(name),
            about: *about,
        });
    }
    let looks = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if looks || EXEMPT.iter().any(|(exempt, _)| *exempt == path) {
        return None;
    }
    Some(Action {
        name: Cow::Owned(made_of(method, path)),
        about: About::Box,
    })
}

/// A name for a route without one.
fn made_of(method: &Method, path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let mut words: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && !part.starts_with('{'))
        .collect();
    let method = method.as_str().to_ascii_lowercase();
    words.push(&method);
    words.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unsafe routes that stand in neither list, and what stands in a list without being a route.
    fn wrong<'a>(routes: impl Iterator<Item = (&'a Method, &'a str)> + Clone) -> Vec<String> {
        let looks = |m: &Method| matches!(*m, Method::GET | Method::HEAD | Method::OPTIONS);
        let named = |m: &Method, path: &str| ACTIONS.iter().any(|(a, p, ..)| a == m && *p == path);
        let exempt = |path: &str| EXEMPT.iter().any(|(p, _)| *p == path);
        let forgotten = routes
            .clone()
            .filter(|(m, path)| !looks(m) && !named(m, path) && !exempt(path))
            .map(|(m, path)| format!("{m} {path} is not recorded by a name"));
        let there = |m: &Method, path: &str| routes.clone().any(|r| r == (m, path));
        let stray = ACTIONS
            .iter()
            .filter(|(m, path, ..)| !there(m, path))
            .map(|(m, path, ..)| format!("{m} {path} is no route"));
        let idle = EXEMPT
            .iter()
            .filter(|(path, why)| !there(&Method::POST, path) || why.len() < 20)
            .map(|(path, _)| format!("{path} is exempt without being a route or for no reason"));
        forgotten.chain(stray).chain(idle).collect()
    }

    #[test]
    fn a5_every_unsafe_route_is_recorded_or_exempt_for_a_reason() {
        let table = crate::web::table();
        let routes = table.iter().map(|r| (&r.method, r.path));
        let found = wrong(routes);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// The saboteur: a route that is added and forgotten here fails the walk, and is recorded all the same.
    #[test]
    fn a5_a_forgotten_route_fails_the_walk() {
        let table = crate::web::table();
        let routes = table.iter().map(|r| (&r.method, r.path));
        let new = (&Method::PUT, "/api/v1/apps/{app}/new-thing");
        let found = wrong(routes.clone().chain([new]));
        assert_eq!(
            found,
            ["PUT /api/v1/apps/{app}/new-thing is not recorded by a name"]
        );
        let action = of(new.0, new.1).unwrap();
        assert_eq!(action.name, "apps.new-thing.put");
        let without = routes.filter(|(_, path)| *path != "/apps/{app}/stop");
        assert_eq!(wrong(without), ["POST /apps/{app}/stop is no route"]);
    }

    #[test]
    fn a5_looking_is_not_recorded_but_a_download_of_a_backup_is() {
        assert_eq!(of(&Method::GET, "/api/v1/apps"), None);
        assert_eq!(of(&Method::POST, "/theme"), None);
        let download = of(&Method::GET, "/api/v1/backups/{id}/download").unwrap();
        assert_eq!(download.name, "backup.download");
    }
}
