//! Our account with an ACME server. Its key is stored, sealed, before the
//! server hears of it; asking for an account with a key it knows gives the
//! same account, so a crash in between costs nothing.

use instant_acme::{Account, Key};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::base::clock::UnixMs;
use crate::config::Acme;
use crate::db::DbError;
use crate::http_client::HttpClient;

use super::Inner;
use super::acme_http::{AcmeHttp, Asked};
use super::failure::{Failure, explain};
use super::store::orders;

/// Host and port of a directory URL, for sentences.
pub(super) fn server_of(directory: &str) -> String {
    match url::Url::parse(directory) {
        Ok(url) => match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => directory.to_owned(),
        },
        Err(_) => directory.to_owned(),
    }
}

/// The account at `acme.directory`, made if need be.
pub(super) async fn open(
    inner: &Inner,
    host: &str,
    acme: &Acme,
    asked: &Asked,
) -> Result<Account, Failure> {
    let server = server_of(&acme.directory);
    let words = |error: instant_acme::Error| explain(host, &server, &error, asked.get());
    let client = HttpClient::new(acme.ca_file.clone())
        .map_err(|e| Failure::keep(format!("{e}: check [acme] ca_file in the config.")))?;
    let builder =
        || Account::builder_with_http(Box::new(AcmeHttp::new(client.clone(), asked.clone())));

    let row = match stored(inner, &acme.directory).await? {
        Some(row) => row,
        None => {
            keep_new_key(inner, &acme.directory).await?;
            stored(inner, &acme.directory)
                .await?
                .ok_or_else(|| Failure::keep("The account's key was not stored."))?
        }
    };
    let key = inner
        .master
        .open(&context(&acme.directory), &row.key_sealed)
        .map_err(DbError::from)?;
    let pkcs8 = PrivatePkcs8KeyDer::from(key);
    let account = match &row.url {
        Some(url) => builder()
            .from_parts(url.clone(), pkcs8, acme.directory.clone())
            .await
            .map_err(words)?,
        None => {
            let key = Key::from_pkcs8_der(pkcs8.clone_key()).map_err(words)?;
            let (account, _stored_already) = builder()
                .create_from_key((key, PrivateKeyDer::Pkcs8(pkcs8)), acme.directory.clone())
                .await
                .map_err(words)?;
            account
        }
    };
    let contact = (!acme.email.is_empty()).then(|| acme.email.clone());
    if row.contact != contact {
        let address = contact.as_ref().map(|c| format!("mailto:{c}"));
        let addresses: Vec<&str> = address.iter().map(String::as_str).collect();
        if let Err(error) = account.update_contacts(&addresses).await {
            tracing::warn!(%server, %error, "the certificate server did not take [acme] email; certificates do not depend on it");
        }
    }
    if row.url.is_none() || row.contact != contact {
        let (directory, url) = (acme.directory.clone(), account.id().to_owned());
        inner
            .db
            .write(move |tx| orders::account_known(tx, &directory, Some(&url), contact.as_deref()))
            .await?;
    }
    Ok(account)
}

/// Forgets where the server keeps the account; the key stays.
pub(super) async fn forget(inner: &Inner, directory: &str) -> Result<(), DbError> {
    let directory = directory.to_owned();
    inner
        .db
        .write(move |tx| orders::account_known(tx, &directory, None, None))
        .await
}

async fn stored(inner: &Inner, directory: &str) -> Result<Option<orders::AccountRow>, DbError> {
    let directory = directory.to_owned();
    inner.db.read(move |c| orders::account(c, &directory)).await
}

pub(super) async fn keep_new_key(inner: &Inner, directory: &str) -> Result<(), Failure> {
    let (_, pkcs8) = Key::generate_pkcs8()
        .map_err(|e| Failure::keep(format!("No key for the account could be made: {e}.")))?;
    let sealed = inner
        .master
        .seal(&context(directory), pkcs8.secret_pkcs8_der())
        .map_err(DbError::from)?;
    let directory = directory.to_owned();
    inner
        .db
        .write(move |tx| orders::keep_account(tx, &directory, &sealed, UnixMs::now()))
        .await?;
    Ok(())
}

fn context(directory: &str) -> String {
    format!("acme_account:{directory}")
}
