//! The table itself: one list of rows a surface, and how a sentence is compared.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `tests/bad_input.toml`. A row without `next` prepares those after it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub cli: Vec<Cli>,
    pub page: Vec<Page>,
    pub api: Vec<Api>,
    pub hook: Vec<Hook>,
    pub deploy: Vec<Deploy>,
    pub target: Vec<Target>,
    pub backup: Vec<Backup>,
    pub engine: Vec<Trouble>,
    pub disk: Vec<Trouble>,
    pub edge: Vec<Edge>,
    pub edge_http2: Vec<EdgeHttp2>,
}

/// A command that needs no engine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cli {
    pub what: String,
    pub args: Vec<String>,
    pub exit: i32,
    pub says: String,
    #[serde(default)]
    pub next: String,
}

/// A form of the dashboard, sent without JavaScript.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub what: String,
    pub path: String,
    pub form: String,
    pub status: u16,
    pub says: String,
    #[serde(default)]
    pub next: String,
}

/// A request to the API.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub what: String,
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub body: String,
    /// Instead of `body`: so many bytes.
    #[serde(default)]
    pub bytes: usize,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Over the edge's socket, where nobody is signed in.
    #[serde(default)]
    pub as_nobody: bool,
    pub status: u16,
    /// The last word of the problem's `type`.
    #[serde(default)]
    pub kind: String,
    pub says: String,
    #[serde(default)]
    pub next: String,
}

/// An event from a git host.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    pub what: String,
    #[serde(default = "push")]
    pub event: String,
    #[serde(default = "main")]
    pub branch: String,
    pub delivery: String,
    #[serde(default)]
    pub signature: Signature,
    #[serde(default)]
    pub sending: Sending,
    /// The event is padded to so many bytes.
    #[serde(default)]
    pub bytes: usize,
    pub status: u16,
    pub says: String,
    #[serde(default)]
    pub next: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signature {
    #[default]
    Right,
    Wrong,
    None,
}

/// How the event is sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sending {
    #[default]
    Whole,
    /// While others' half-sent events take all the room there is.
    Crowded,
    /// Its end never comes.
    Cut,
}

fn push() -> String {
    "push".into()
}

fn main() -> String {
    "main".into()
}

/// A deploy that must fail while the release before serves on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    pub what: String,
    /// The folder that is deployed; empty when `args` say something else.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Of `freehold deploy --app shop`.
    #[serde(default)]
    pub args: Vec<String>,
    /// The sentence it ends with, as `freehold deploys` keeps it.
    pub says: String,
    /// What else its log has.
    #[serde(default)]
    pub log: Vec<String>,
    /// What its log must not have.
    #[serde(default)]
    pub never: Vec<String>,
    pub next: String,
}

/// A backup target that cannot be used.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub what: String,
    pub args: Vec<String>,
    /// What is typed as its secret; the right one when empty.
    #[serde(default)]
    pub secret: String,
    pub exit: i32,
    pub says: String,
    pub next: String,
}

/// A backup that must fail and leave what is stored as it was.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    pub what: String,
    pub store: Store,
    pub says: String,
    pub next: String,
}

/// What became of the store since the target was added.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    Away,
    BucketGone,
    KeyRevoked,
    Flipped,
}

/// Something about the box itself: its engine is away, or its disk is full.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    pub what: String,
    pub args: Vec<String>,
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    #[serde(default)]
    pub when: When,
    pub exit: i32,
    pub says: String,
    pub next: String,
}

/// Bytes that a client sends to the proxy over HTTP/1. A row without `next` is served, and not in the docs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    pub what: String,
    /// `{a*9}` is nine times `a`. A request that is well follows on the same connection.
    pub send: String,
    /// The status, or those of several requests with blanks between them; `closed`: the connection ends without a word.
    pub answer: String,
    /// In the last answer.
    #[serde(default)]
    pub says: String,
    /// What must not be in it.
    #[serde(default)]
    pub never: Vec<String>,
    /// The request that follows is answered too; else the connection ends.
    #[serde(default)]
    pub goes_on: bool,
    #[serde(default)]
    pub next: String,
}

/// Frames that a client sends to the proxy over HTTP/2. A row without `next` is served, and not in the docs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeHttp2 {
    pub what: String,
    /// Each: its kind, stream and flags (`HEADERS 1 es eh`), then names and values in turn, or a payload. `GET /` stands
    /// for the fields of such a request.
    pub frames: Vec<Vec<String>>,
    /// Of the highest stream: its status, or `reset CODE`; or `goaway CODE` of the connection.
    pub answer: String,
    #[serde(default)]
    pub says: String,
    #[serde(default)]
    pub never: Vec<String>,
    /// A request that follows on the connection is answered.
    #[serde(default)]
    pub goes_on: bool,
    #[serde(default)]
    pub next: String,
}

/// When the trouble begins.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Before the command.
    #[default]
    Before,
    /// While its build runs.
    Building,
}

pub fn table() -> Table {
    toml::from_str(include_str!("../bad_input.toml")).unwrap()
}

/// Whether `said` has `pattern`, in which … stands for anything, and any white space for any other.
pub fn has(said: &str, pattern: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = plain(said);
    let mut rest = said.as_str();
    for part in pattern.split('…') {
        let part = plain(part);
        match rest.find(&part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Fills `{name}` in.
pub fn fill(text: &str, names: &[(&str, &str)]) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

#[test]
fn a_pattern_is_found_in_order_and_whole() {
    assert!(has(
        "the disk\n is full (3 MB left)",
        "disk is full (… MB left)"
    ));
    assert!(!has("MB left, the disk is full", "disk is full … MB left"));
    assert!(!has("", "anything"));
}
