//! What a request asks, for the audit log: who, from where, on what. Of its body
//! only names are looked at, and nothing of it is kept as it came.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::{StreamExt, stream};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::actions::{About, Action};
use crate::audit::{Class, Intent, Kind, Subject, Who};
use crate::base::clock::UnixMs;
use crate::users::{OWNER, signs_in_as};
use crate::web::auth;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::forgery;
use crate::web::jobs;
use crate::web::services::App;

/// What a body may take in which a name is looked for. All that names something new, or what is to be shown, is far
/// shorter; a longer one would be a change without its name.
const LOOKED_AT: usize = 64 << 10;

/// A request, understood.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it is about.
    pub about: About,
    /// Who, what, on what.
    pub intent: Intent,
    /// Whose refusals it counts among.
    pub class: Class,
    /// What is told beside what differs.
    pub more: Map<String, Value>,
}

/// The `{names}` of the table's path, as this request's path fills them in.
pub fn parameters(table: &str, path: &str) -> Vec<(String, String)> {
    let pairs = table.split('/').zip(path.split('/'));
    pairs
        .filter_map(|(name, value)| {
            let name = name.strip_prefix('{')?.strip_suffix('}')?;
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            Some((name.to_owned(), value))
        })
        .collect()
}

/// Reads `request` and gives it back whole.
///
/// # Errors
/// That its body is too long to be looked at.
pub async fn read(
    app: &App,
    action: Action,
    caller: &Caller,
    table: &str,
    request: Request,
) -> Result<(Request, Asked), Failure> {
    let parameters = parameters(table, request.uri().path());
    let named = parameters
        .iter()
        .any(|(name, _)| own(action.about).contains(&name.as_str()));
    let looks = match action.about {
        About::SignIn => true,
        About::Account | About::Link | About::Owner | About::HalfWay | About::Box => false,
        _ => !named,
    };
    let most = match caller {
        Caller::Nobody => forgery::LARGEST_OF_STRANGERS,
        _ => LOOKED_AT,
    };
    let (request, fields) = match looks {
        true => look(request, most).await?,
        false => (request, Map::new()),
    };
    let who = who(action.about, caller, request.headers());
    let class = match caller {
        Caller::Nobody => Class::Strangers(action.name.clone().into_owned()),
        _ => Class::Known(caller.who()),
    };
    let half = match action.about {
        About::HalfWay => auth::cookie(request.headers(), auth::HALF).unwrap_or_default(),
        _ => String::new(),
    };
    let subject = subject(app, action.about, caller, &parameters, &fields, &half).await;
    let mut more = more(action.about, &parameters, request.uri().query());
    more.extend(beside(app, action.about, caller, &subject).await);
    let asked = Asked {
        about: action.about,
        intent: Intent {
            who,
            action: action.name.into_owned(),
            subject,
        },
        class,
        more,
    };
    Ok((request, asked))
}

/// The parameters of a path that name the subject.
fn own(about: About) -> &'static [&'static str] {
    match about {
        About::App
        | About::Traffic
        | About::Command
        | About::Reveal
        | About::Push
        | About::Attachment => &["app"],
        About::Database => &["database", "name"],
        About::Target => &["target", "name"],
        About::Backup => &["backup", "id"],
        About::Restore => &["restore", "id"],
        About::Check => &["check", "id"],
        About::User => &["user"],
        About::Token | About::Job => &["id"],
        About::Account
        | About::Link
        | About::Owner
        | About::SignIn
        | About::HalfWay
        | About::Box => &[],
    }
}

/// The names in the body, and the request as it was.
async fn look(request: Request, most: usize) -> Result<(Request, Map<String, Value>), Failure> {
    let (head, body) = request.into_parts();
    let mut rest = body.into_data_stream();
    let mut seen: Vec<Bytes> = Vec::new();
    let mut broken = None;
    let mut size = 0;
    while size <= most {
        match rest.next().await {
            None => break,
            Some(Ok(bytes)) => {
                size += bytes.len();
                seen.push(bytes);
            }
            Some(Err(error)) => {
                broken = Some(error);
                break;
            }
        }
    }
    if size > most {
        return Err(forgery::too_large(most));
    }
    let fields = match broken.is_none() {
        true => fields(&head.headers, &seen.concat()),
        false => Map::new(),
    };
    let again = seen
        .into_iter()
        .map(Ok)
        .chain(broken.map(Err))
        .collect::<Vec<_>>();
    let body = Body::from_stream(stream::iter(again).chain(rest));
    Ok((Request::from_parts(head, body), fields))
}

/// The fields that may be a name.
fn fields(headers: &HeaderMap, body: &[u8]) -> Map<String, Value> {
    const KEPT: [&str; 2] = ["name", "id"];
    let form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let mut fields: Map<String, Value> = match form {
        true => url::form_urlencoded::parse(body)
            .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
            .collect(),
        false => serde_json::from_slice(body).unwrap_or_default(),
    };
    fields.retain(|name, _| KEPT.contains(&name.as_str()));
    fields
}

/// Who acts, and from where.
pub fn who(about: About, caller: &Caller, headers: &HeaderMap) -> Who {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let local = matches!(caller, Caller::Local { .. });
    let address = auth::origin(headers).address.filter(|_| !local);
    let mut who = Who {
        kind: Kind::Nobody,
        id: None,
        name: "nobody".to_owned(),
        via: String::new(),
        address: address.map(|a| a.to_string()).unwrap_or_default(),
        request: text("x-request-id"),
    };
    match caller {
        Caller::Nobody if about == About::Push => {
            let spoke = crate::deploy::hooks::spoke(&|name| {
                Some(text(name)).filter(|value| !value.is_empty())
            });
            let (host, delivery) = spoke.unwrap_or(("unknown", None));
            who.kind = Kind::Webhook;
            who.name = host.to_owned();
            who.via = delivery.unwrap_or_default();
        }
        Caller::Nobody => {}
        Caller::User { id, name, .. } => {
            who.kind = Kind::User;
            who.id = Some(*id);
            who.name.clone_from(name);
        }
        Caller::Program { id, name, user, .. } => {
            who.kind = Kind::Token;
            who.id = Some(*id);
            who.name = user.clone().unwrap_or_else(|| "the box".to_owned());
            who.via.clone_from(name);
        }
        Caller::Local { uid } => {
            who.kind = Kind::Local;
            who.id = Some(i64::from(*uid));
            who.name = format!("uid {uid}");
        }
    }
    who
}

/// On what: by the path, else by the name that is given to what is made.
async fn subject(
    app: &App,
    about: About,
    caller: &Caller,
    parameters: &[(String, String)],
    fields: &Map<String, Value>,
    half: &str,
) -> Subject {
    let by_path = own(about)
        .iter()
        .find_map(|own| parameters.iter().find(|(name, _)| name == own))
        .map(|(_, value)| value.clone());
    let given = |name: &str| {
        let value = fields.get(name)?;
        value
            .as_str()
            .map(str::to_owned)
            .or_else(|| value.as_i64().map(|n| n.to_string()))
    };
    let now = UnixMs::now();
    // What is given to something new is its name, even where it is a number.
    let number = by_path.clone().or_else(|| given("id"));
    let name = by_path
        .or_else(|| given("name").map(|name| name.trim().to_owned()))
        .or_else(|| given("id"))
        .unwrap_or_default();
    let numbered = |kind| Subject {
        kind,
        id: number.as_deref().and_then(|n| n.parse().ok()),
        name: name.clone(),
    };
    match about {
        About::App
        | About::Traffic
        | About::Command
        | About::Reveal
        | About::Push
        | About::Attachment => Subject {
            kind: "app",
            id: app.apps.find(&name).await.ok().map(|row| row.id),
            name,
        },
        About::Database => Subject {
            kind: "database",
            id: app.databases.find(&name).await.ok().map(|row| row.id),
            name,
        },
        About::Target => Subject {
            kind: "target",
            id: app.backups.target(&name).await.ok().map(|row| row.id),
            name,
        },
        About::Backup => numbered("backup"),
        About::Restore => numbered("restore"),
        About::Job => numbered("job"),
        About::Check => {
            let mut subject = numbered("check");
            let all = app.monitor.checks(now).await.unwrap_or_default();
            if let Some(check) = all.into_iter().find(|c| Some(c.id) == subject.id) {
                subject.name = check.name;
            }
            subject
        }
        About::Token => {
            let mut subject = numbered("token");
            let all = app.users.tokens(None).await.unwrap_or_default();
            if let Some(token) = all.into_iter().find(|t| Some(t.id) == subject.id) {
                subject.name = token.name;
            }
            subject
        }
        About::User => user(app, name.trim().to_lowercase()).await,
        About::Account => match caller {
            Caller::User { id, name, .. } => Subject {
                kind: "user",
                id: Some(*id),
                name: name.clone(),
            },
            _ => Subject::default(),
        },
        About::Link => {
            let token = parameters.first().map_or("", |(_, value)| value.as_str());
            match app.users.whose_link(token, now).await {
                Ok(Some(name)) => user(app, name).await,
                _ => Subject::default(),
            }
        }
        About::Owner => user(app, OWNER.to_owned()).await,
        // A name nobody has may be a password in the wrong field.
        About::SignIn => {
            let name = signs_in_as(&name);
            match app.users.person(&name, now).await {
                Ok(_) => user(app, name).await,
                Err(_) => nobody("(no such user)"),
            }
        }
        About::HalfWay => match app.users.who_is_half_way(half, now).await {
            Ok(Some(name)) => user(app, name).await,
            _ => nobody("(nobody whose password was given)"),
        },
        About::Box => Subject::default(),
    }
}

fn nobody(words: &str) -> Subject {
    Subject {
        kind: "user",
        id: None,
        name: words.to_owned(),
    }
}

/// What is told beside what differs, of things that their number alone does not name.
async fn beside(app: &App, about: About, caller: &Caller, subject: &Subject) -> Map<String, Value> {
    let mut more = Map::new();
    let Some(id) = subject.id else { return more };
    match about {
        About::Job => {
            if let Ok(job) = jobs::find(app, caller, id).await {
                more.insert("what".to_owned(), job.what.into());
                if let Some(name) = job.app {
                    more.insert("app".to_owned(), name.into());
                }
            }
        }
        About::Backup => {
            if let Ok(backup) = app.backups.find(id).await {
                more.insert("database".to_owned(), backup.database_name.into());
            }
        }
        About::Restore => {
            if let Ok(restore) = app.backups.find_restore(id).await
                && let Ok(Some(database)) = app.databases.by_id(restore.database).await
            {
                more.insert("database".to_owned(), database.name.to_string().into());
            }
        }
        _ => {}
    }
    more
}

async fn user(app: &App, name: String) -> Subject {
    let person = app.users.person(&name, UnixMs::now()).await.ok();
    Subject {
        kind: "user",
        id: person.and_then(|p| p.id),
        name,
    }
}

/// What is told beside what differs: the command, by its first word; the session that was
/// ended; the database whose URL was shown. Which variables were shown, their handler tells.
fn more(about: About, parameters: &[(String, String)], query: Option<&str>) -> Map<String, Value> {
    let mut more = Map::new();
    match about {
        About::Command => {
            let query = query.unwrap_or_default().as_bytes();
            let command = url::form_urlencoded::parse(query).find(|(name, _)| name == "command");
            let words: Vec<String> = command
                .and_then(|(_, text)| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            // The other words may hold secrets.
            if let Some((first, rest)) = words.split_first() {
                let text = match rest.len() {
                    0 => first.clone(),
                    n => format!("{first} and {n} more"),
                };
                more.insert("command".to_owned(), text.into());
            }
        }
        // Which of a user's sessions was ended.
        About::User | About::Account => {
            if let Some((_, mark)) = parameters.iter().find(|(name, _)| name == "mark") {
                more.insert("session".to_owned(), mark.clone().into());
            }
        }
        About::Attachment => {
            if let Some((_, database)) = parameters.iter().find(|(name, _)| name == "name") {
                more.insert("database".to_owned(), database.clone().into());
            }
        }
        _ => {}
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a5_a_body_gives_names_and_nothing_else() {
        let mut headers = HeaderMap::new();
        let json = br#"{"name":"shop","git_token":"s3cret","names":["A"],"secret_key":"s3cret"}"#;
        let found = fields(&headers, json);
        assert_eq!(found.len(), 1);
        assert!(!format!("{found:?}").contains("s3cret"));
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        headers.insert(header::CONTENT_TYPE, form.parse().unwrap());
        let found = fields(&headers, b"name=ana%40example.com&password=s3cret");
        assert_eq!(found.len(), 1);
        assert_eq!(found["name"], "ana@example.com");
    }

    #[test]
    fn a5_a_command_is_told_by_its_first_word() {
        let query = "command=%5B%22psql%22%2C%22-c%22%2C%22s3cret%22%5D&process=web";
        let told = more(About::Command, &[], Some(query));
        assert_eq!(told["command"], "psql and 2 more");
    }

    #[test]
    fn a5_parameters_are_those_of_the_table() {
        let found = parameters(
            "/apps/{app}/deploys/{id}/cancel",
            "/apps/sh%6Fp/deploys/7/cancel",
        );
        let pairs = [("app", "shop"), ("id", "7")];
        let pairs = pairs.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found, pairs);
    }
}
