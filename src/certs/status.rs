//! How each name's certificate is doing, for pages and the API.

use serde::Serialize;

use crate::base::clock::UnixMs;

use super::state::OrderState;
use super::store::{CertRow, NameRow};
use super::timing::{Life, notice, renew_at};

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CertState {
    /// None yet; it will be ordered.
    Waiting,
    /// None yet; the order is under way.
    Ordering,
    /// None, and the last try failed.
    Failed,
    /// In service.
    Valid,
    /// In service, but its end is near and renewing has not worked.
    Expiring,
    /// Past its end.
    Expired,
}

impl CertState {
    /// The word that the API says.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ordering => "ordering",
            Self::Failed => "failed",
            Self::Valid => "valid",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
        }
    }
}

/// One name's certificate.
#[derive(Clone, Debug, Serialize)]
pub struct CertStatus {
    /// `shop.example.com`; `@box` for the box's address.
    pub host: String,
    /// `acme`, `internal` or `files`.
    pub source: &'static str,
    /// Where it stands.
    pub state: CertState,
    /// When the name was first wanted.
    pub since: UnixMs,
    /// Tries that failed since the last that did not.
    pub tries: u32,
    /// Its last moment.
    pub not_after: Option<UnixMs>,
    /// When it is renewed.
    pub renews_at: Option<UnixMs>,
    /// Who issued it.
    pub issuer: Option<String>,
    /// How the last try failed, with the remedy.
    pub error: Option<String>,
    /// What is odd, though nothing failed.
    pub warning: Option<String>,
    /// After a failure: when the next try is.
    pub next_try: Option<UnixMs>,
    /// Where an open order stands.
    pub order: Option<&'static str>,
}

/// What is in service for a name.
pub(super) struct InService {
    pub(super) life: Life,
    pub(super) issuer: String,
    pub(super) renews_at: Option<UnixMs>,
}

impl InService {
    pub(super) fn of(row: &CertRow) -> Self {
        Self {
            life: row.life,
            issuer: row.issuer.clone(),
            renews_at: Some(renew_at(row.life, row.issued, row.ari_at)),
        }
    }
}

pub(super) fn status(
    name: NameRow,
    in_service: Option<InService>,
    order: Option<OrderState>,
    now: UnixMs,
) -> CertStatus {
    let state = match &in_service {
        Some(c) => match notice(c.life, now) {
            Some(0) => CertState::Expired,
            Some(_) => CertState::Expiring,
            None => CertState::Valid,
        },
        None if name.error.is_some() => CertState::Failed,
        None if order.is_some() => CertState::Ordering,
        None => CertState::Waiting,
    };
    CertStatus {
        source: name.source.word(),
        state,
        since: name.added,
        tries: name.failures,
        not_after: in_service.as_ref().map(|c| c.life.not_after),
        renews_at: in_service.as_ref().and_then(|c| c.renews_at),
        issuer: in_service.map(|c| c.issuer),
        error: name.error,
        warning: name.warning,
        next_try: name.next_try.filter(|t| *t > now),
        order: order.map(OrderState::as_str),
        host: name.host,
    }
}
