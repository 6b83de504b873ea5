//! What the hosts' push events say, each in its own shape.

use serde::Deserialize;
use serde_json::Value;

use crate::git::CommitId;

use super::{Headers, Host, Verdict};

/// A push to the app's branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The branch's new commit.
    pub commit: CommitId,
    /// Its message's first line, if it was told.
    pub title: Option<String>,
    /// Who pushed, if it was told.
    pub by: Option<String>,
}

/// GitHub, GitLab, Gitea and Forgejo agree on these.
#[derive(Deserialize)]
struct RefPush {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    #[serde(default)]
    head_commit: Option<Value>,
    #[serde(default)]
    commits: Vec<Value>,
    #[serde(default)]
    pusher: Option<Value>,
    #[serde(default)]
    user_username: Option<String>,
    #[serde(default)]
    checkout_sha: Option<String>,
}

pub(super) fn read(
    host: Host,
    event: &str,
    header: &Headers<'_>,
    body: &[u8],
    branch: &str,
) -> Verdict {
    let form = header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let unwrapped;
    let body = match form {
        true => match unwrap_form(body) {
            Some(inner) => {
                unwrapped = inner;
                unwrapped.as_slice()
            }
            None => return Verdict::Invalid("the form has no field \"payload\": set the webhook's content type to application/json".into()),
        },
        false => body,
    };
    let is_push = match host {
        Host::GitHub | Host::Gitea => event == "push",
        Host::GitLab => event == "Push Hook",
        Host::Bitbucket => event == "repo:push",
    };
    if matches!(host, Host::GitHub | Host::Gitea) && event == "ping" {
        return Verdict::Pong;
    }
    if !is_push {
        let shown: String = event.chars().take(60).collect();
        return Verdict::Ignored(format!("\"{shown}\" is not a push"));
    }
    match host {
        Host::Bitbucket => bitbucket(body, branch),
        _ => by_ref(body, branch),
    }
}

fn unreadable(error: &serde_json::Error) -> Verdict {
    Verdict::Invalid(format!("the push event cannot be read: {error}"))
}

fn other_branch(name: &str, branch: &str) -> Verdict {
    let shown: String = name.chars().take(80).collect();
    Verdict::Ignored(format!(
        "pushed to \"{shown}\", the app follows \"{branch}\""
    ))
}

fn by_ref(body: &[u8], branch: &str) -> Verdict {
    let push: RefPush = match serde_json::from_slice(body) {
        Ok(push) => push,
        Err(error) => return unreadable(&error),
    };
    match push.reference.strip_prefix("refs/heads/") {
        Some(name) if name == branch => {}
        Some(name) => return other_branch(name, branch),
        None => return other_branch(&push.reference, branch),
    }
    if push.after.bytes().all(|b| b == b'0') {
        return Verdict::Ignored(format!("the branch \"{branch}\" was deleted"));
    }
    let commit = match CommitId::parse(&push.after) {
        Ok(commit) => commit,
        Err(error) => return Verdict::Invalid(error.0),
    };
    let told = push
        .head_commit
        .as_ref()
        .or_else(|| {
            let id = push.checkout_sha.as_deref().unwrap_or(commit.as_str());
            push.commits.iter().find(|c| c["id"].as_str() == Some(id))
        })
        .and_then(|c| c["message"].as_str());
    let by = push
        .pusher
        .as_ref()
        .and_then(|p| p["name"].as_str().or_else(|| p["login"].as_str()))
        .or(push.user_username.as_deref());
    Verdict::Deploy(Push {
        title: told.and_then(first_line),
        by: by.and_then(first_line),
        commit,
    })
}

fn bitbucket(body: &[u8], branch: &str) -> Verdict {
    let event: Value = match serde_json::from_slice(body) {
        Ok(event) => event,
        Err(error) => return unreadable(&error),
    };
    let changes = event["push"]["changes"].as_array();
    let Some(changes) = changes else {
        return Verdict::Invalid("the push event has no list of changes".into());
    };
    let named = |change: &Value, side: &str| {
        change[side]["type"].as_str() == Some("branch")
            && change[side]["name"].as_str() == Some(branch)
    };
    let Some(change) = changes
        .iter()
        .rev()
        .find(|c| named(c, "new") || named(c, "old"))
    else {
        let name = changes
            .iter()
            .find_map(|c| c["new"]["name"].as_str())
            .unwrap_or("something else");
        return other_branch(name, branch);
    };
    let target = &change["new"]["target"];
    let Some(hash) = target["hash"].as_str() else {
        return Verdict::Ignored(format!("the branch \"{branch}\" was deleted"));
    };
    match CommitId::parse(hash) {
        Ok(commit) => Verdict::Deploy(Push {
            title: target["message"].as_str().and_then(first_line),
            by: event["actor"]["display_name"].as_str().and_then(first_line),
            commit,
        }),
        Err(error) => Verdict::Invalid(error.0),
    }
}

fn first_line(text: &str) -> Option<String> {
    let line: String = text.lines().next()?.trim().chars().take(200).collect();
    (!line.is_empty()).then_some(line)
}

/// The field `payload` of a form, as GitHub sends it when asked for one.
fn unwrap_form(body: &[u8]) -> Option<Vec<u8>> {
    let field = body
        .split(|b| *b == b'&')
        .find_map(|pair| pair.strip_prefix(b"payload="))?;
    let spaced: Vec<u8> = field
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    Some(percent_encoding::percent_decode(&spaced).collect())
}
