//! What a handler takes and answers, read from its type.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::HeaderMap;
use axum::response::sse::Sse;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::web::answer::{
    Accepted, AcceptedIf, As, Created, DeployLog, Description, Dump, Lines, Listed, ListedWhole,
    NoContent, Pem, Renewed, Terminal,
};
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::page::{LONGEST, MOST, Names, Page, USUAL, Whole};
use crate::web::services::App;
use crate::wire::deploys::LogPart;
use crate::wire::jobs::WithJob;
use crate::wire::listing::Listing;

/// The schemas of what is taken stand where they are used; those of what is told are shared.
pub struct Schemas {
    taken: SchemaGenerator,
    told: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let taken = SchemaSettings::draft2020_12()
            .for_deserialize()
            .with(|s| s.inline_subschemas = true);
        let told = SchemaSettings::draft2020_12()
            .for_serialize()
            .with(|s| s.definitions_path = "/components/schemas".into());
        Self {
            taken: taken.into_generator(),
            told: told.into_generator(),
        }
    }
}

impl Schemas {
    /// The schema of a `T` that is sent to us.
    pub fn taken<T: JsonSchema>(&mut self) -> Value {
        let mut schema = self.taken.subschema_for::<T>().to_value();
        bounded(&mut schema);
        schema
    }

    /// The schema of a `T` that we send.
    pub fn told<T: JsonSchema>(&mut self) -> Value {
        self.told.subschema_for::<T>().to_value()
    }

    /// All shared schemas, by name.
    pub fn shared(mut self) -> Map<String, Value> {
        self.told.take_definitions(true)
    }
}

/// Says how large a number of a named width can be.
fn bounded(schema: &mut Value) {
    let most = match schema["format"].as_str() {
        Some("uint32") => Some(json!(u32::MAX)),
        Some("uint16") => Some(json!(u16::MAX)),
        Some("uint64") => Some(json!(u64::MAX)),
        Some("int64") => Some(json!(i64::MAX)),
        _ => None,
    };
    if let (Some(object), Some(most)) = (schema.as_object_mut(), most) {
        object.entry("maximum").or_insert(most);
    }
    if schema["format"] == "int64"
        && let Some(object) = schema.as_object_mut()
    {
        object.entry("minimum").or_insert(json!(i64::MIN));
    }
    match schema {
        Value::Object(all) => all.values_mut().for_each(bounded),
        Value::Array(all) => all.iter_mut().for_each(bounded),
        _ => {}
    }
}

/// A parameter of the query.
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it may be.
    pub schema: Value,
    /// Whether it must be there.
    pub required: bool,
}

/// A body that is taken.
pub struct Taken {
    /// Its media type.
    pub kind: &'static str,
    /// What it may be.
    pub schema: Value,
    /// Whether it must be there.
    pub required: bool,
}

/// An answer that is no problem.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// In a few words.
    pub what: &'static str,
    /// Its bodies by media type; none without a body.
    pub bodies: Vec<(&'static str, Value)>,
}

/// What one handler takes and answers.
#[derive(Default)]
pub struct Operation {
    /// What the path's parameters may be, in order.
    pub path: Vec<Value>,
    /// The query's parameters.
    pub query: Vec<Parameter>,
    /// The body.
    pub body: Option<Taken>,
    /// The answers.
    pub answers: Vec<Answer>,
    /// Whether it answers a part of a list.
    pub lists: bool,
    /// Whether it can fail.
    pub fails: bool,
    /// Whether an answer tells a secret.
    pub tells_secret: bool,
}

impl Operation {
    fn answer(&mut self, status: u16, what: &'static str, bodies: Vec<(&'static str, Value)>) {
        self.answers.push(Answer {
            status,
            what,
            bodies,
        });
    }

    /// Whether it answers one thing as JSON, which can be tagged.
    pub fn shows_one(&self) -> bool {
        let json = |a: &Answer| a.status == 200 && a.bodies.iter().any(|b| b.0 == JSON);
        !self.lists && self.answers.iter().any(json)
    }
}

/// Whether a `T` that we send has a secret in it, however deep.
fn has_secret<T: JsonSchema>() -> bool {
    fn marked(schema: &Value) -> bool {
        match schema {
            Value::Object(all) => schema["format"] == "password" || all.values().any(marked),
            Value::Array(all) => all.iter().any(marked),
            _ => false,
        }
    }
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    marked(schema.as_value())
}

/// JSON's media type.
pub const JSON: &str = "application/json";

/// Something a handler takes.
pub trait Takes {
    /// Adds itself to the description.
    fn takes(operation: &mut Operation, schemas: &mut Schemas);
}

/// Something a handler answers.
pub trait Answers {
    /// Adds itself to the description.
    fn answers(operation: &mut Operation, schemas: &mut Schemas);
}

/// A handler that can be described; `T` is axum's mark of its arguments.
pub trait Described<T> {
    /// Its description.
    fn describe(schemas: &mut Schemas) -> Operation;
}

impl<F, Made, R> Described<((),)> for F
where
    F: FnOnce() -> Made,
    Made: Future<Output = R>,
    R: Answers,
{
    fn describe(schemas: &mut Schemas) -> Operation {
        let mut operation = Operation::default();
        R::answers(&mut operation, schemas);
        operation
    }
}

macro_rules! described {
    ($($argument:ident)*) => {
        impl<F, Made, R, M, $($argument),*> Described<(M, $($argument,)*)> for F
        where
            F: FnOnce($($argument),*) -> Made,
            Made: Future<Output = R>,
            R: Answers,
            $($argument: Takes,)*
        {
            fn describe(schemas: &mut Schemas) -> Operation {
                let mut operation = Operation::default();
                $($argument::takes(&mut operation, schemas);)*
                R::answers(&mut operation, schemas);
                operation
            }
        }
    };
}

described!(A);
described!(A B);
described!(A B C);
described!(A B C D);
described!(A B C D E);
described!(A B C D E G);

macro_rules! says_nothing {
    ($($type:ty),*) => {
        $(impl Takes for $type {
            fn takes(_: &mut Operation, _: &mut Schemas) {}
        })*
    };
}

says_nothing!(State<App>, Extension<Caller>, HeaderMap, Request, Telling);

impl Takes for Body {
    fn takes(operation: &mut Operation, _: &mut Schemas) {
        operation.body = Some(Taken {
            kind: "application/x-tar",
            schema: json!({ "type": "string", "format": "binary", "description": "A tar of the folder." }),
            required: true,
        });
    }
}

impl<T: JsonSchema + DeserializeOwned> Takes for Input<T> {
    fn takes(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.taken::<T>();
        let needed = schema["required"].as_array().is_some_and(|r| !r.is_empty());
        operation.body = Some(Taken {
            kind: JSON,
            required: needed || serde_json::from_str::<T>("{}").is_err(),
            schema,
        });
    }
}

impl<T: JsonSchema> Takes for Query<T> {
    fn takes(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.taken::<T>();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let properties = schema["properties"].as_object().cloned();
        for (name, schema) in properties.unwrap_or_default() {
            operation.query.push(Parameter {
                required: required.iter().any(|r| *r == name),
                schema: never_null(schema),
                name,
            });
        }
    }
}

/// A query's parameter is there or is not; there is no `null` in a query.
fn never_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array() {
        let left: Vec<Value> = types.iter().filter(|t| *t != "null").cloned().collect();
        schema["type"] = match <[Value; 1]>::try_from(left) {
            Ok([one]) => one,
            Err(left) => left.into(),
        };
    }
    if let Some(values) = schema["enum"].as_array() {
        schema["enum"] = values.iter().filter(|v| !v.is_null()).cloned().collect();
    }
    if let Some(object) = schema.as_object_mut() {
        object.retain(|key, value| key != "default" || !value.is_null());
        if let Some(Value::Array(any)) = object.remove("anyOf") {
            let one = any.into_iter().find(|s| s["type"] != "null");
            if let Some(Value::Object(one)) = one {
                object.extend(one);
            }
        }
    }
    schema
}

impl Takes for Page {
    fn takes(operation: &mut Operation, _: &mut Schemas) {
        let cursor = json!({ "type": "string", "pattern": "^[0-9]{1,18}$" });
        pieces(operation, cursor);
    }
}

impl Takes for Names {
    fn takes(operation: &mut Operation, _: &mut Schemas) {
        let cursor = json!({ "type": "string", "minLength": 1, "maxLength": LONGEST });
        pieces(operation, cursor);
    }
}

impl Takes for Whole {
    fn takes(operation: &mut Operation, schemas: &mut Schemas) {
        Names::takes(operation, schemas);
        for parameter in &mut operation.query {
            if let Some(schema) = parameter.schema.as_object_mut() {
                schema.remove("default");
            }
        }
    }
}

fn pieces(operation: &mut Operation, mut cursor: Value) {
    cursor["description"] = json!("What an earlier answer said as `next`.");
    operation.query.push(Parameter {
        name: "limit".into(),
        schema: json!({
            "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL,
            "description": "At most so many in one answer."
        }),
        required: false,
    });
    operation.query.push(Parameter {
        name: "after".into(),
        schema: cursor,
        required: false,
    });
}

/// What a path's parameters may be.
pub trait Segment {
    /// Its schema.
    fn schema() -> Value;
}

impl Segment for String {
    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": 255 })
    }
}

impl Segment for i64 {
    fn schema() -> Value {
        json!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": i64::MAX })
    }
}

/// One parameter of a path, or several.
pub trait Segments {
    /// Their schemas.
    fn schemas() -> Vec<Value>;
}

impl<A: Segment> Segments for A {
    fn schemas() -> Vec<Value> {
        vec![A::schema()]
    }
}

impl<A: Segment, B: Segment> Segments for (A, B) {
    fn schemas() -> Vec<Value> {
        vec![A::schema(), B::schema()]
    }
}

impl<T: Segments> Takes for Path<T> {
    fn takes(operation: &mut Operation, _: &mut Schemas) {
        operation.path = T::schemas();
    }
}

impl<R: Answers> Answers for Result<R, Failure> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        operation.fails = true;
        R::answers(operation, schemas);
    }
}

impl<T: JsonSchema> Answers for Json<T> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.told::<T>();
        operation.tells_secret |= has_secret::<T>();
        operation.answer(200, "As asked.", vec![(JSON, schema)]);
    }
}

impl<T: JsonSchema> Answers for Renewed<T> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        Json::<T>::answers(operation, schemas);
    }
}

impl<T: JsonSchema> Answers for Listed<T> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        operation.lists = true;
        let schema = schemas.told::<Listing<T>>();
        operation.answer(200, "A part of the list.", vec![(JSON, schema)]);
    }
}

impl<T: JsonSchema> Answers for ListedWhole<T> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.told::<Listing<T>>();
        operation.answer(
            200,
            "The list, or the piece of it that was asked for.",
            vec![(JSON, schema)],
        );
    }
}

impl<T: JsonSchema> Answers for Created<T> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.told::<T>();
        operation.tells_secret |= has_secret::<T>();
        operation.answer(201, "Made.", vec![(JSON, schema)]);
    }
}

impl<T: JsonSchema> Answers for Accepted<T> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.told::<WithJob<T>>();
        operation.tells_secret |= has_secret::<T>();
        let what = "Written down; the work follows, and can be followed at `Location`.";
        operation.answer(202, what, vec![(JSON, schema)]);
    }
}

impl<T: JsonSchema> Answers for AcceptedIf<T> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.told::<WithJob<T>>();
        let what = "Done; there is no work to follow, and `job` is null.";
        operation.answer(200, what, vec![(JSON, schema)]);
        Accepted::<T>::answers(operation, schemas);
    }
}

impl Answers for NoContent {
    fn answers(operation: &mut Operation, _: &mut Schemas) {
        operation.answer(204, "Done.", Vec::new());
    }
}

impl<S> Answers for Sse<S> {
    fn answers(operation: &mut Operation, _: &mut Schemas) {
        let bodies = vec![("text/event-stream", event())];
        operation.answer(200, "Server-sent events.", bodies);
    }
}

impl<K: Kind> Answers for As<K> {
    fn answers(operation: &mut Operation, schemas: &mut Schemas) {
        operation.answer(K::STATUS, K::WHAT, K::bodies(schemas));
    }
}

/// One event of a stream.
fn event() -> Value {
    let text = json!({ "type": "string" });
    json!({ "type": "object", "properties": { "event": text, "id": text, "data": text } })
}

/// An answer that is no JSON.
pub trait Kind {
    /// Its status.
    const STATUS: u16 = 200;
    /// In a few words.
    const WHAT: &'static str;
    /// Its bodies by media type.
    fn bodies(schemas: &mut Schemas) -> Vec<(&'static str, Value)>;
}

fn text(kind: &'static str) -> Vec<(&'static str, Value)> {
    vec![(kind, json!({ "type": "string" }))]
}

fn lines<T: JsonSchema>(schemas: &mut Schemas) -> (&'static str, Value) {
    let line = schemas.told::<T>();
    let schema = json!({ "type": "string", "x-line": line });
    ("application/x-ndjson", schema)
}

impl<T: JsonSchema> Kind for Lines<T> {
    const WHAT: &'static str = "Newline-delimited JSON; each line is `x-line`.";
    fn bodies(schemas: &mut Schemas) -> Vec<(&'static str, Value)> {
        vec![lines::<T>(schemas)]
    }
}

impl Kind for DeployLog {
    const WHAT: &'static str = "The log as it grows, in the form that was asked for by `Accept`.";
    fn bodies(schemas: &mut Schemas) -> Vec<(&'static str, Value)> {
        let mut bodies = vec![lines::<LogPart>(schemas)];
        bodies.extend(text("text/plain"));
        bodies.push(("text/event-stream", event()));
        bodies
    }
}

impl Kind for Terminal {
    const STATUS: u16 = 101;
    const WHAT: &'static str = "The connection is upgraded to `freehold-terminal`.";
    fn bodies(_: &mut Schemas) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
}

impl Kind for Dump {
    const WHAT: &'static str = "The dump; its SHA-256 stands in `X-SHA256`.";
    fn bodies(_: &mut Schemas) -> Vec<(&'static str, Value)> {
        let bytes = json!({ "type": "string", "format": "binary" });
        vec![("application/octet-stream", bytes)]
    }
}

impl Kind for Pem {
    const WHAT: &'static str = "The certificate.";
    fn bodies(_: &mut Schemas) -> Vec<(&'static str, Value)> {
        text("application/x-pem-file")
    }
}

impl Kind for Description {
    const WHAT: &'static str = "The description of this API.";
    fn bodies(_: &mut Schemas) -> Vec<(&'static str, Value)> {
        vec![(JSON, json!({ "type": "object" }))]
    }
}
