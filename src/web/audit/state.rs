//! How the subject of an action stands, field by field: read before and after it.

use serde_json::{Value, json};

use super::actions::About;
use super::asked::Asked;
use crate::apps::{self, Scale};
use crate::audit::facts::Facts;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::git::Credentials;
use crate::jobs as queue;
use crate::postgres::{Link, State};
use crate::web::error::Failure;
use crate::web::jobs;
use crate::web::services::App;

/// The facts that `asked` may change. What cannot be read is left out: the action itself will meet the same fault.
pub async fn facts(app: &App, asked: &Asked) -> Facts {
    let name = asked.intent.subject.name.as_str();
    let read = match asked.about {
        About::App => of_app(app, name).await,
        About::Traffic | About::Push => of_traffic(app, name).await,
        About::Database => of_database(app, name).await,
        About::Target => of_targets(app).await,
        About::Check => of_checks(app).await,
        About::User | About::Link | About::Owner => of_user(app, name).await,
        About::Token => of_tokens(app).await,
        About::Account => of_account(app, asked.intent.subject.id).await,
        About::Backup => of_backup(app, asked.intent.subject.id).await,
        About::Restore => of_restore(app, asked.intent.subject.id).await,
        About::Job => of_job(app, asked.intent.subject.id).await,
        // These change nothing that can be read again: who was shown what, which session was begun, what a command is, is
        // told beside. And of somebody nobody knows no more is read for a name that is there than for one that is not.
        About::Command
        | About::Reveal
        | About::Attachment
        | About::SignIn
        | About::HalfWay
        | About::Box => Ok(Facts::default()),
    };
    read.unwrap_or_default()
}

/// Whether `field` is of what `asked` is about, where the facts are those of all rows of its kind: somebody else may change
/// another one meanwhile.
pub fn is_own(asked: &Asked, made: Option<i64>, field: &str) -> bool {
    let subject = &asked.intent.subject;
    let of = |row: &str| field.split_once('.').is_some_and(|(own, _)| own == row);
    match asked.about {
        About::Check | About::Token => match subject.id.or(made) {
            Some(id) => of(&id.to_string()),
            None => false,
        },
        // Which one stops being the default belongs to which one begins.
        About::Target => of(&subject.name) || field.ends_with(".default"),
        _ => true,
    }
}

async fn of_app(app: &App, name: &str) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    let row = app.apps.find(name).await?;
    facts.set("name", row.name.to_string());
    facts.set("git_url", json!(row.git_url));
    facts.set("git_branch", row.branch.clone());
    facts.set("registry_host", json!(row.registry_host));
    facts.set("registry_user", json!(row.registry_user));
    facts.set("maintenance", row.maintenance);
    facts.set("removing", row.removing);
    secrets(app, &row, &mut facts).await?;
    for route in app.apps.routes(Some(row.id)).await? {
        facts.set(
            format!("domain.{}", route.domain),
            route.process.to_string(),
        );
        policies(&route, &mut facts);
    }
    for (process, scale) in app.apps.scale(row.id).await? {
        scaled(&process, scale, &mut facts);
    }
    // From the wish on, as on the database's side.
    for (database, link) in app.databases.of_app(row.id).await? {
        if link.state != Link::Detaching {
            facts.set(format!("database.{database}"), link.env_name);
        }
    }
    Ok(facts)
}

/// What is kept sealed of an app: whether it differs, never what it is.
async fn secrets(app: &App, row: &apps::App, facts: &mut Facts) -> Result<(), Failure> {
    if let Some(git) = app.apps.git(row.id).await? {
        match &git.remote.credentials {
            Credentials::None => {}
            Credentials::Token(token) => facts.secret("git_token", token),
            Credentials::Key(key) => facts.secret("git_key", key),
        }
    }
    if let Some(login) = app.apps.registry(row.id).await? {
        facts.secret("registry_password", &login.password);
    }
    let secret = app.apps.webhook_secret(row.id).await?;
    facts.secret("webhook_secret", &secret);
    for (name, value) in app.apps.env(row.id).await? {
        facts.secret(format!("env.{name}"), &value);
    }
    Ok(())
}

/// A domain's own policies, key by key; of passwords, whether they are others.
fn policies(route: &apps::Route, facts: &mut Facts) {
    let Some(own) = &route.policies else { return };
    for (key, value) in own.told() {
        facts.set(format!("domain.{}.{key}", route.domain), value);
    }
    if let Some(mark) = own.passwords_mark() {
        let field = format!("domain.{}.passwords", route.domain);
        facts.secret(field, &Secret::new(mark));
    }
}

fn scaled(process: &str, scale: Scale, facts: &mut Facts) {
    facts.set(format!("scale.{process}.min"), json!(scale.min));
    facts.set(format!("scale.{process}.max"), json!(scale.max));
    let memory = json!(scale.memory_bytes);
    facts.set(format!("scale.{process}.memory_bytes"), memory);
    facts.set(format!("scale.{process}.nano_cpus"), json!(scale.nano_cpus));
}

async fn of_traffic(app: &App, name: &str) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    let row = app.apps.find(name).await?;
    if let Some(newest) = app.deploys.list(Some(row.id), 1).await?.first() {
        facts.set("deploy", newest.id);
        facts.set("deploy.of", newest.source.describe());
        facts.set("deploy.by", newest.by.clone());
        facts.set("deploy.cancelled", newest.cancel);
    }
    if let Some(serving) = app.deploys.live(row.id).await? {
        facts.set("stopped", serving.stopped);
    }
    Ok(facts)
}

async fn of_database(app: &App, name: &str) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    let row = app.databases.find(name).await?;
    facts.set("name", row.name.to_string());
    facts.set("version", row.version);
    facts.set("memory_bytes", row.memory_bytes);
    facts.set("removing", row.state == State::Removing);
    let links = app.databases.attached(row.id).await?;
    for link in links
        .into_iter()
        .filter(|link| link.state != Link::Detaching)
    {
        facts.set(format!("app.{}", link.app_name), link.env_name);
    }
    Ok(facts)
}

async fn of_targets(app: &App) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    for target in app.backups.targets().await? {
        let name = &target.name;
        facts.set(format!("{name}.place"), target.place);
        facts.set(format!("{name}.endpoint"), json!(target.endpoint));
        facts.set(format!("{name}.region"), json!(target.region));
        facts.set(format!("{name}.default"), target.is_default);
    }
    Ok(facts)
}

async fn of_checks(app: &App) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    for check in app.monitor.checks(UnixMs::now()).await? {
        if check.by_hand {
            facts.set(format!("{}.name", check.id), check.name);
            facts.set(format!("{}.url", check.id), without_query(&check.url));
        }
    }
    Ok(facts)
}

/// A query may hold a key.
fn without_query(url: &str) -> Value {
    match url.split_once('?') {
        Some((address, _)) => format!("{address}?…").into(),
        None => url.into(),
    }
}

async fn of_user(app: &App, name: &str) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    let person = app.users.person(name, UnixMs::now()).await?;
    facts.set("role", person.role.as_str());
    facts.set("apps", person.apps.join(", "));
    facts.set("invited", person.invited_until.is_some());
    facts.set("second_factor", person.second_factor);
    if let Some(id) = person.id {
        facts.secret("password", &app.users.password_mark(id).await?);
        let sessions = app.users.sessions(id, UnixMs::now()).await?;
        facts.set("sessions", sessions.len());
    }
    facts.secret("link", &app.users.link_mark(name, UnixMs::now()).await?);
    Ok(facts)
}

async fn of_backup(app: &App, id: Option<i64>) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    if let Some(id) = id {
        let backup = app.backups.find(id).await?;
        facts.set("state", backup.state.as_str());
        facts.set("check", json!(backup.check_state));
        facts.set("checked", json!(backup.checked.map(|at| at.iso())));
    }
    Ok(facts)
}

async fn of_restore(app: &App, id: Option<i64>) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    if let Some(id) = id {
        let restore = app.backups.find_restore(id).await?;
        facts.set("state", restore.state.as_str());
        facts.set("confirmed", restore.confirmed.is_some());
        // What was replaced goes by a job: from the question on, and not from its end.
        let job = jobs::about(app, "restore.confirm", "restore", id).await?;
        if job.is_some() {
            facts.set("dropped", restore.kept);
        }
    }
    Ok(facts)
}

async fn of_job(app: &App, id: Option<i64>) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    let Some(id) = id else { return Ok(facts) };
    if let Some(row) = app.db.read(move |c| queue::by_id(c, id)).await? {
        facts.set("state", jobs::view(app, row).await?.state.as_str());
    }
    Ok(facts)
}

async fn of_tokens(app: &App) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    for token in app.users.tokens(None).await? {
        let id = token.id;
        facts.set(format!("{id}.name"), token.name);
        facts.set(format!("{id}.mark"), token.mark);
        facts.set(format!("{id}.verb"), token.verb.as_str());
        let apps = token.apps.map(|apps| apps.join(", "));
        facts.set(
            format!("{id}.apps"),
            apps.unwrap_or_else(|| "all".to_owned()),
        );
        facts.set(
            format!("{id}.ends"),
            json!(token.expires.map(|at| at.iso())),
        );
    }
    Ok(facts)
}

async fn of_account(app: &App, user: Option<i64>) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    if let Some(user) = user {
        let sessions = app.users.sessions(user, UnixMs::now()).await?;
        facts.set("sessions", sessions.len());
        let standing = app.users.second_factor(user).await?;
        facts.set("second_factor", standing.active.is_some());
        facts.set("recovery_codes", standing.codes_left);
        facts.secret("password", &app.users.password_mark(user).await?);
        let (key, codes) = app.users.second_factor_marks(user).await?;
        facts.secret("second_factor.key", &key);
        facts.secret("second_factor.codes", &codes);
    }
    Ok(facts)
}
