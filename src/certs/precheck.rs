//! Before the certificate authority is asked: does the name exist, and does it
//! lead here? What is found but does not stop the order is the name's warning.

use crate::config::Acme;
use crate::http_client::HttpClient;

use super::Inner;
use super::addresses;
use super::dns::{self, Lookup};
use super::failure::Failure;
use super::reach::{self, Verdict};
use super::store;

/// Stops a try for a name that has no address yet.
pub(super) async fn exists(inner: &Inner, host: &str, acme: &Acme) -> Result<(), Failure> {
    match dns::lookup(host, acme.resolver).await {
        Lookup::Addresses(_) => Ok(()),
        Lookup::Nowhere => Err(Failure::unasked(nowhere(host, acme))),
        Lookup::Unknown(why) => {
            warn(
                inner,
                host,
                Some(format!(
                    "Where {host} points could not be found out: {why}."
                )),
            )
            .await
        }
    }
}

fn nowhere(host: &str, acme: &Acme) -> String {
    let asked = acme
        .resolver
        .map_or_else(|| "the system's resolver".to_owned(), |r| r.to_string());
    let ours: Vec<String> = addresses::for_the_box()
        .into_iter()
        .filter(|a| !a.is_loopback())
        .map(|a| a.to_string())
        .collect();
    format!(
        "{host} has no address yet (asked {asked}). Add an A or AAAA record that points to this box ({}); Freehold orders the certificate as soon as it is there. If another DNS server knows the name, set [acme] resolver.",
        if ours.is_empty() {
            "its public address".into()
        } else {
            ours.join(", ")
        }
    )
}

/// Looks at the challenge as the authority will, as far as one can from here.
pub(super) async fn leads_here(
    inner: &Inner,
    host: &str,
    acme: &Acme,
    token: &str,
    answer: &str,
) -> Result<(), Failure> {
    let Lookup::Addresses(points_to) = dns::lookup(host, acme.resolver).await else {
        return Ok(());
    };
    let client = HttpClient::new(None).map_err(|e| Failure::keep(format!("{e}.")))?;
    let port = inner.settings().challenge_port;
    let look = reach::look(&client, host, &points_to, port, token, answer).await;
    match reach::judge(host, &points_to, &addresses::local(), &look) {
        Verdict::Go => warn(inner, host, None).await,
        Verdict::Warn(said) => warn(inner, host, Some(said)).await,
        Verdict::Stop(said) => Err(Failure::unasked(said)),
    }
}

async fn warn(inner: &Inner, host: &str, said: Option<String>) -> Result<(), Failure> {
    let host = host.to_owned();
    inner
        .db
        .write(move |tx| store::name_warned(tx, &host, said.as_deref()))
        .await?;
    Ok(())
}
