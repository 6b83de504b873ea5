//! `freehold login` and `freehold logout`: boxes used from a laptop.

use std::io::{IsTerminal, Read};

use clap::Args;
use http_body_util::BodyExt;

use super::Global;
use super::boxes::{Boxes, KnownBox};
use super::client::{Client, full};
use super::output::{self, Fail};
use super::remote::{Refused, Remote, Trust, address};
use crate::base::secret::Secret;
use crate::certs::fingerprint;
use crate::wire::apps::AppSummary;

/// A root certificate is smaller than this.
const ROOT: usize = 64 * 1024;

/// Use a box from here
///
/// The token is made on the dashboard, under your name, or on the box with `freehold token add`. It is read from
/// FREEHOLD_TOKEN, from standard input, or asked for. A box with a public certificate is checked by the public roots; one
/// without shows the fingerprint of its own root: compare it with what `freehold status` prints on the box. From then on
/// that root alone is believed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold login panel.example.com\n  freehold login 203.0.113.7 --name home --fingerprint 3F:8A:11:…\n  freehold --box home status"
)]
pub struct Login {
    /// Where its dashboard is
    host: String,
    /// What to call it here; the host when absent
    #[arg(long)]
    name: Option<String>,
    /// SHA-256 of the box's own root, when nobody is there to compare it
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
}

/// Forget a box that was used from here
///
/// Its token is not ended by it: `freehold token rm` on the box does that.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  freehold logout\n  freehold logout home")]
pub struct Logout {
    /// What it is called here; the current one when absent
    name: Option<String>,
}

/// Runs `login`.
///
/// # Errors
/// That the box cannot be reached, is not who was meant, or refuses the token.
pub async fn login(global: &Global, arguments: Login) -> Result<(), Fail> {
    let (host, port) = address(&arguments.host)?;
    let root = root_of(&arguments).await?;
    let token = token()?;
    let trust = root.as_deref().map_or(Trust::Public, Trust::Pinned);
    let remote = Remote::new(&arguments.host, &trust, Some(token.clone()))?;
    let authority = remote.authority.clone();
    // The token is tried before it is kept.
    let apps: Vec<AppSummary> = Client::remote(remote).list("/api/v1/apps").await?;
    let name = arguments.name.unwrap_or(match port {
        443 => host,
        port => format!("{host}:{port}"),
    });
    let mut boxes = Boxes::read()?;
    let known = KnownBox {
        address: authority,
        token,
        root,
    };
    boxes.all.insert(name.clone(), known);
    boxes.current = Some(name.clone());
    boxes.write()?;
    match global.json {
        true => output::json(&serde_json::json!({ "box": name, "apps": apps.len() })),
        false => output::line(format!(
            "Logged in to {name}. {}",
            super::goes_to(&name, super::is_box())
        )),
    }
    Ok(())
}

/// Runs `logout`.
///
/// # Errors
/// That there is no such box.
pub fn logout(global: &Global, arguments: &Logout) -> Result<(), Fail> {
    let mut boxes = Boxes::read()?;
    let name = arguments.name.clone().or_else(|| boxes.current.clone());
    let Some(name) = name.filter(|name| boxes.all.contains_key(name)) else {
        return Err(Fail::not_found(
            "there is no such box here, so nothing was forgotten: `freehold boxes` shows those there are",
        ));
    };
    boxes.all.remove(&name);
    if boxes.current.as_ref() == Some(&name) {
        boxes.current = None;
    }
    boxes.write()?;
    match global.json {
        true => output::json(&serde_json::json!({ "forgotten": name })),
        false => output::line(format!(
            "{name} is forgotten here. Its token works until it is ended on the box."
        )),
    }
    Ok(())
}

/// The box's own root, compared by a person or with `--fingerprint`; none when a public root signs for it.
async fn root_of(arguments: &Login) -> Result<Option<String>, Fail> {
    if arguments.fingerprint.is_none() {
        let public = Remote::new(&arguments.host, &Trust::Public, None)?;
        match public.connect().await {
            Ok(_) => return Ok(None),
            Err(Refused::Certificate(_)) => {}
            Err(Refused::Other(fail)) => return Err(fail),
        }
    }
    let open = Remote::new(&arguments.host, &Trust::Unverified, None)?;
    let host = open.authority.clone();
    let request = http::Method::GET;
    let answer = Client::remote(open)
        .request(request, "/api/v1/root.pem", full(""), None)
        .await?;
    let bytes = http_body_util::Limited::new(answer.into_body(), ROOT)
        .collect()
        .await
        .map_err(|_| Fail::Unreachable(format!("{host} did not send its root certificate")))?
        .to_bytes();
    let pem = String::from_utf8_lossy(&bytes).into_owned();
    let print = fingerprint(&pem)
        .map_err(|_| Fail::Unreachable(format!("{host} did not send a root certificate")))?;
    let plain = |text: &str| text.replace([':', ' '], "").to_uppercase();
    let same = match &arguments.fingerprint {
        Some(given) => plain(given) == plain(&print),
        None => {
            let question = format!(
                "{host} has a certificate of its own root:\n  SHA-256  {print}\nOn the box, `freehold status` prints it. Is it the same? Type yes to go on: "
            );
            output::ask(&question).trim() == "yes"
        }
    };
    match same {
        true => Ok(Some(pem)),
        false => Err(Fail::usage(format!(
            "the fingerprint of {host} was not confirmed, so nothing was sent to it: it is {print}"
        ))),
    }
}

fn token() -> Result<Secret, Fail> {
    if let Some(token) = std::env::var("FREEHOLD_TOKEN")
        .ok()
        .filter(|t| !t.is_empty())
    {
        return Ok(Secret::new(token));
    }
    let mut text = String::new();
    if std::io::stdin().is_terminal() {
        text = output::ask("The token: ");
    } else {
        let read = std::io::stdin().take(4_096).read_to_string(&mut text);
        read.map_err(|e| Fail::usage(format!("no token could be read: {e}")))?;
    }
    match text.trim() {
        "" => Err(Fail::usage(
            "no token was given: make one on the dashboard under your name, or on the box with `freehold token add`",
        )),
        token => Ok(Secret::new(token)),
    }
}
