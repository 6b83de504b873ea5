//! The description of the whole API, OpenAPI 3.1, made of the table and its handlers' types.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::describe::{Answer, Operation, Parameter, Schemas};
use crate::web::access::Needs;
use crate::web::router::Route;
use crate::wire::problem::{Problem, ProblemKind};

/// The document of every row under `/api/v1` that is described.
pub fn document(table: &[Route]) -> Value {
    let tagged = tagged(table);
    let mut schemas = Schemas::default();
    let problem = schemas.told::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for route in table {
        let Some(api) = &route.api else { continue };
        let operation = (api.describe)(&mut schemas);
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method.as_str().to_lowercase()] =
            told(route, (api.summary, api.id), operation, &tagged);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Freehold",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": ABOUT,
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.shared(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token of `freehold token add`, or of one's account's page." },
                "session": { "type": "apiKey", "in": "cookie", "name": crate::web::auth::COOKIE, "description": "A signed-in browser; changes need the page's own origin." },
            },
            "responses": problems(&problem),
            "headers": {
                "RateLimit": { "description": "What is left of the quota, and seconds until it is whole again (draft-ietf-httpapi-ratelimit-headers).", "schema": { "type": "string" } },
                "RateLimit-Policy": { "description": "The quota and its window in seconds.", "schema": { "type": "string" } },
                "ETag": { "description": "A strong tag of this representation.", "schema": { "type": "string" } },
                "Location": { "description": "Where the work can be followed.", "schema": { "type": "string", "format": "uri-reference" } },
            },
        },
    })
}

const ABOUT: &str = "One box's platform. Lists are told a page at a time (`limit`, `after`); one thing is told with an `ETag`, \
which `If-None-Match` and `If-Match` take; `Idempotency-Key` makes a POST safe to send again; long work answers 202 and is \
followed under `/api/v1/jobs`. Errors are problems (RFC 9457) whose `type` and `kind` do not change.";

/// Every problem by its status.
const PROBLEMS: &[(u16, ProblemKind)] = &[
    (400, ProblemKind::Malformed),
    (401, ProblemKind::SignIn),
    (403, ProblemKind::Forbidden),
    (404, ProblemKind::NotFound),
    (409, ProblemKind::Conflict),
    (412, ProblemKind::Changed),
    (413, ProblemKind::TooLarge),
    (415, ProblemKind::Unsupported),
    (422, ProblemKind::Invalid),
    (429, ProblemKind::SlowDown),
    (500, ProblemKind::Internal),
    (502, ProblemKind::Outside),
    (503, ProblemKind::Unavailable),
];

fn problems(schema: &Value) -> Value {
    let all = PROBLEMS.iter().map(|(status, kind)| {
        let mut response = json!({
            "description": kind.title(),
            "content": { "application/problem+json": { "schema": schema } },
        });
        if *status == 429 {
            let seconds = json!({ "type": "integer", "minimum": 1 });
            response["headers"] =
                json!({ "Retry-After": { "description": "Seconds to wait.", "schema": seconds } });
        }
        (status.to_string(), response)
    });
    Value::Object(all.collect())
}

/// Which problems a row can answer.
fn fails(route: &Route, operation: &Operation, conditional: bool) -> Vec<u16> {
    let reads = route.method == "GET";
    let mut all = vec![429, 500, 503];
    if route.needs != Needs::Nobody {
        all.extend([401, 403]);
    }
    let names_one = |p: &Parameter| p.name == "app" || p.name == "database";
    let named = !operation.path.is_empty() || operation.query.iter().any(names_one);
    // A body names apps and databases too.
    if named || operation.body.is_some() {
        all.push(404);
    }
    if !operation.query.is_empty() || operation.body.is_some() {
        all.push(422);
    }
    if operation.body.is_some() {
        all.extend([400, 413, 415]);
    }
    if operation.fails {
        all.push(502);
    }
    // Refused parameters, and the state of things.
    all.push(422);
    if !reads {
        all.push(409);
    }
    if conditional {
        all.push(412);
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// What a change's `If-Match` is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// What its own address shows.
    Own,
    /// What the address above it shows: a POST there does something to that one thing.
    Above,
    /// That, and which release of it serves: a POST there starts or ends one.
    AboveAndServing,
    /// Nothing that it could be held against: it is refused.
    Nothing,
}

/// What it is for this row; `None` for one that changes nothing.
pub fn compared(route: &Route, tagged: &BTreeSet<&'static str>) -> Option<Compared> {
    let acts = route.method == Method::POST;
    if !acts && ![Method::PATCH, Method::PUT, Method::DELETE].contains(&route.method) {
        return None;
    }
    // Compared and changed in two steps, a tag would hold nothing back.
    if acts && super::thing(route).is_none() {
        return Some(Compared::Nothing);
    }
    let above = route.path.rsplit_once('/').map_or("", |(above, _)| above);
    Some(match tagged.contains(route.path) {
        true => Compared::Own,
        false if acts && tagged.contains(above) && shows_above(route.path) => {
            match SERVES.contains(&last(route.path)) {
                true => Compared::AboveAndServing,
                false => Compared::Above,
            }
        }
        false => Compared::Nothing,
    })
}

/// POSTs that change which release of an app serves, by the last part of their path.
const SERVES: &[&str] = &["restart", "rollback", "start", "stop"];

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Whether what a POST at `path` does is seen in what the address above it shows. A list of its own is not,
/// nor what is told to one person once: a new link, recovery codes.
fn shows_above(path: &str) -> bool {
    const UNSEEN: &[&str] = &["backups", "deploys", "recovery-codes", "reset"];
    !UNSEEN.contains(&last(path))
}

/// The paths whose GET is tagged: what is changed there can be changed with `If-Match`.
pub fn tagged(table: &[Route]) -> BTreeSet<&'static str> {
    let mut schemas = Schemas::default();
    let shown = table.iter().filter(|route| route.method == Method::GET);
    let shown = shown.filter(|route| {
        let api = route.api.as_ref();
        api.is_some_and(|api| (api.describe)(&mut schemas).shows_one())
    });
    shown.map(|route| route.path).collect()
}

fn told(
    route: &Route,
    (summary, id): (&str, &str),
    operation: Operation,
    tagged: &BTreeSet<&'static str>,
) -> Value {
    let held = compared(route, tagged);
    let conditional = held.is_some_and(|held| held != Compared::Nothing);
    let mut responses = Map::new();
    for answer in &operation.answers {
        responses.insert(answer.status.to_string(), response(answer, &operation));
    }
    for status in fails(route, &operation, conditional) {
        let place = format!("#/components/responses/{status}");
        responses.insert(status.to_string(), json!({ "$ref": place }));
    }
    let tagged = route.method == "GET" && operation.shows_one();
    if tagged {
        responses.insert(
            "304".into(),
            json!({ "description": "It is as `If-None-Match` says." }),
        );
    }
    let mut told = json!({
        "operationId": id.replace("::", "."),
        "summary": summary,
        "tags": [id.split("::").next().unwrap_or_default()],
        "x-needs": route.needs.words(),
        "parameters": parameters(route, &operation, (tagged, held)),
        "responses": responses,
    });
    if matches!(route.needs, Needs::Nobody | Needs::Proof) {
        told["security"] = json!([]);
    }
    if route.method == Method::POST
        && let Again::Refused(why) = again(route.path, &operation)
    {
        told["description"] = json!(format!("Refused here (422): {why}"));
    }
    if let Some(body) = operation.body {
        told["requestBody"] = json!({
            "required": body.required,
            "content": { body.kind: { "schema": body.schema } },
        });
    }
    told
}

fn response(answer: &Answer, operation: &Operation) -> Value {
    let mut headers = json!({
        "RateLimit": { "$ref": "#/components/headers/RateLimit" },
        "RateLimit-Policy": { "$ref": "#/components/headers/RateLimit-Policy" },
    });
    if answer.status == 200 && operation.shows_one() {
        headers["ETag"] = json!({ "$ref": "#/components/headers/ETag" });
    }
    if answer.status == 202 {
        headers["Location"] = json!({ "$ref": "#/components/headers/Location" });
    }
    let mut response = json!({ "description": answer.what, "headers": headers });
    if !answer.bodies.is_empty() {
        let bodies = answer.bodies.iter();
        let bodies = bodies.map(|(kind, schema)| ((*kind).to_owned(), json!({ "schema": schema })));
        response["content"] = Value::Object(bodies.collect());
    }
    response
}

fn parameters(
    route: &Route,
    operation: &Operation,
    (tagged, held): (bool, Option<Compared>),
) -> Value {
    let names = route.path.split('/').filter_map(|part| {
        let inner = part.strip_prefix('{')?;
        inner.strip_suffix('}')
    });
    let mut all: Vec<Value> = names
        .zip(&operation.path)
        .map(|(name, schema)| {
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    for one in &operation.query {
        let mut parameter = json!({ "name": one.name, "in": "query", "required": one.required });
        let mut schema = one.schema.clone();
        if let Some(object) = schema.as_object_mut()
            && let Some(words) = object.remove("description")
        {
            parameter["description"] = words;
        }
        parameter["schema"] = schema;
        all.push(parameter);
    }
    let mut header = |name: &str, words: &str, schema: Value| {
        all.push(json!({
            "name": name, "in": "header", "required": false, "description": words, "schema": schema,
        }));
    };
    let tag = json!({ "type": "string" });
    if tagged {
        let words = "Answer 304 when it is still as this tag says.";
        header("If-None-Match", words, tag.clone());
    }
    let words = match held {
        Some(Compared::Own) => Some("Change it only when it is still as this tag says."),
        Some(Compared::Above) => {
            Some("Do it only when what the address above this one shows is still as this tag says.")
        }
        Some(Compared::AboveAndServing) => Some(
            "Do it only when what the address above this one shows, and which release serves, is still as this tag says.",
        ),
        Some(Compared::Nothing) | None => None,
    };
    if let Some(words) = words {
        header("If-Match", words, tag);
    }
    let words = match again(route.path, operation) {
        _ if route.method != "POST" => None,
        Again::Answers => Some(
            "The same key with the same request answers again what was answered first, for a day.",
        ),
        Again::AnswersOfAStream => Some(
            "The same key with the same request answers again what was answered first, for a day. What is sent is compared by \
its Content-Length and, where there is one, its Content-Digest (RFC 9530).",
        ),
        Again::SaysDone => Some(
            "The same key with the same request does nothing again, for a day: it answers 409, for the secret in the answer \
is told once and not kept.",
        ),
        Again::Refused(_) => None,
    };
    if let Some(words) = words {
        let key = json!({ "type": "string", "pattern": "^[!-~]{1,200}$" });
        header("Idempotency-Key", words, key);
    }
    Value::Array(all)
}

/// What an `Idempotency-Key` that comes again leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// What was answered first.
    Answers,
    /// That, for the same length and digest: a body that is streamed is not held to be compared.
    AnswersOfAStream,
    /// That it was done: what was answered tells a secret, and is not kept.
    SaysDone,
    /// It is refused: a connection that is upgraded has no answer to keep, and a reveal makes nothing and tells,
    /// audited, each time.
    Refused(&'static str),
}

/// What it is for the operation at this path.
pub fn again(path: &str, operation: &Operation) -> Again {
    let upgraded = operation.answers.iter().any(|a| a.status == 101);
    match operation.tells_secret {
        _ if streams(operation) => Again::AnswersOfAStream,
        _ if upgraded => Again::Refused(TERMINAL),
        true if path.ends_with("/reveal") => Again::Refused(REVEAL),
        true => Again::SaysDone,
        false => Again::Answers,
    }
}

const TERMINAL: &str = "a command with a terminal takes no Idempotency-Key: what it did cannot be answered again. Send it without; where it must not be done twice, look first whether it was done.";
const REVEAL: &str = "a reveal takes no Idempotency-Key: it makes nothing, and tells each time it is asked. Send it without.";

/// Whether the body is read as it comes, and so is never held to be compared with another.
fn streams(operation: &Operation) -> bool {
    let body = operation.body.as_ref();
    body.is_some_and(|body| body.kind != super::describe::JSON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::router::table;

    /// Every operation, by what it is called.
    fn operations(document: &Value) -> Vec<(String, Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        let all = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, o)| (format!("{method} {path}"), o.clone()))
        });
        all.collect()
    }

    #[test]
    fn a1_every_row_of_the_api_is_described_and_nothing_else() {
        let table = table();
        let rows = table.iter().filter(|r| r.path.starts_with("/api/"));
        let rows: Vec<String> = rows
            .map(|r| format!("{} {}", r.method.as_str().to_lowercase(), r.path))
            .collect();
        let described = operations(&document(&table));
        assert_eq!(rows.len(), described.len());
        for row in &rows {
            assert!(described.iter().any(|(name, _)| name == row), "{row}");
        }
        let mut names: Vec<&str> = described
            .iter()
            .filter_map(|(_, o)| o["operationId"].as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len(), "two operations of one name");
    }

    #[test]
    fn a1_a_path_has_as_many_parameters_as_its_handler_reads() {
        for route in table() {
            let Some(api) = &route.api else { continue };
            let operation = (api.describe)(&mut Schemas::default());
            let wanted = route.path.matches('{').count();
            assert_eq!(operation.path.len(), wanted, "{}", route.path);
        }
    }

    #[test]
    fn a1_bodies_take_no_unknown_field() {
        for (name, operation) in operations(&document(&table())) {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let open = !body.is_null() && body["additionalProperties"] != false;
            assert!(!open, "{name} takes fields it does not know: {body}");
        }
    }

    #[test]
    fn a1_what_is_referred_to_is_there() {
        fn walk(value: &Value, document: &Value) {
            if let Some(place) = value["$ref"].as_str() {
                let pointer = place.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{place}");
            }
            match value {
                Value::Object(all) => all.values().for_each(|v| walk(v, document)),
                Value::Array(all) => all.iter().for_each(|v| walk(v, document)),
                _ => {}
            }
        }
        let document = document(&table());
        walk(&document, &document);
    }

    /// The POSTs that are done to one thing as it was seen.
    const ACTS: &[&str] = &[
        "/account/second-factor",
        "/account/second-factor/confirm",
        "/apps/{app}/domains",
        "/apps/{app}/env/reveal",
        "/apps/{app}/maintenance",
        "/apps/{app}/restart",
        "/apps/{app}/rollback",
        "/apps/{app}/scale",
        "/apps/{app}/start",
        "/apps/{app}/stop",
        "/apps/{app}/webhook-secret",
        "/backups/{id}/restore",
        "/backups/{id}/verify",
        "/restores/{id}/confirm",
        "/targets/{name}/default",
    ];

    #[test]
    fn a1_if_match_is_taken_exactly_where_a_tag_can_be_had() {
        let table = table();
        let document = document(&table);
        let has = |operation: &Value, name: &str| {
            let all = operation["parameters"].as_array().unwrap();
            all.iter().any(|p| p["name"] == name)
        };
        let paths = document["paths"].as_object().unwrap();
        let shown = |path: &str| {
            !paths.get(path).unwrap_or(&Value::Null)["get"]["responses"]["200"]["headers"]["ETag"]
                .is_null()
        };
        let mut acts = Vec::new();
        for (path, methods) in paths {
            for edit in ["patch", "put", "delete", "post"] {
                let operation = &methods[edit];
                if operation.is_null() {
                    continue;
                }
                let taken = has(operation, "If-Match");
                assert_eq!(!operation["responses"]["412"].is_null(), taken);
                match edit {
                    "post" if taken => acts.push(path.strip_prefix("/api/v1").unwrap()),
                    "post" => {}
                    _ => assert_eq!(taken, shown(path), "{operation}"),
                }
            }
        }
        // Which things are done to one thing as it was seen; every other POST refuses a tag.
        assert_eq!(acts, ACTS);
        for path in acts.iter().map(|path| format!("/api/v1{path}")) {
            let above = path.rsplit_once('/').unwrap().0;
            assert!(shown(&path) || shown(above), "{path}");
        }
        let edited = ["/api/v1/apps/{app}/env", "/api/v1/apps/{app}/domains"];
        assert!(edited.iter().all(|path| tagged(&table).contains(path)));
    }

    /// Which answers are kept for a request that is sent again, and which are not: every POST that tells a secret stands
    /// here.
    #[test]
    fn a3_what_tells_a_secret_is_kept_for_no_request_that_is_sent_again() {
        let told = |wanted: fn(Again) -> bool| {
            let mut all = Vec::new();
            for route in table().iter().filter(|r| r.method == "POST") {
                let Some(api) = &route.api else { continue };
                let operation = (api.describe)(&mut Schemas::default());
                if operation.tells_secret && wanted(again(route.path, &operation)) {
                    all.push(api.id);
                }
            }
            all.sort_unstable();
            all
        };
        assert_eq!(
            told(|again| again == Again::SaysDone),
            [
                "apps::replace_webhook_secret",
                "second_factor::confirm",
                "second_factor::offer",
                "second_factor::recovery_codes",
                "tokens::create",
                "users::invite",
                "users::reset",
                "users::setup_link",
            ]
        );
        assert_eq!(
            told(|again| matches!(again, Again::Refused(_))),
            [
                "apps::reveal_webhook_secret",
                "databases::reveal",
                "env::reveal"
            ]
        );
        assert!(told(|again| again == Again::Answers).is_empty());
    }

    #[test]
    fn a1_secrets_are_marked() {
        let document = document(&table());
        let schemas = &document["components"]["schemas"];
        assert_eq!(
            schemas["MadeToken"]["properties"]["token"]["format"],
            "password"
        );
    }
}
