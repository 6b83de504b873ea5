//! A certificate's state in words, the same on every page.

use super::parts::{Badge, Tone};
use super::words;
use crate::base::clock::UnixMs;
use crate::certs::{CertState, CertStatus};

/// The state as a badge.
pub fn badge(status: &CertStatus) -> Badge {
    match status.state {
        CertState::Waiting => Badge::new(Tone::Busy, "Pending"),
        CertState::Ordering => Badge::new(Tone::Busy, "Being issued"),
        CertState::Failed => Badge::new(Tone::Bad, "Not issued"),
        CertState::Valid if status.error.is_some() => Badge::new(Tone::Warn, "Renewal failed"),
        CertState::Valid => Badge::new(Tone::Ok, "Valid"),
        CertState::Expiring => Badge::new(Tone::Warn, "Expires soon"),
        CertState::Expired => Badge::new(Tone::Bad, "Expired"),
    }
}

/// Who issued it, or will.
pub fn issuer(status: &CertStatus) -> String {
    match (status.source, &status.issuer) {
        ("internal", _) => "this box’s own CA".to_owned(),
        ("files", _) => "your files".to_owned(),
        (_, Some(issuer)) => issuer.clone(),
        (_, None) => "–".to_owned(),
    }
}

/// While there is none: since when, what was tried and what comes next. Else
/// what went wrong and when it is tried again; empty when nothing did.
pub fn note(status: &CertStatus, now: UnixMs) -> String {
    if let Some(pending) = status.pending(now) {
        let warning = status.warning.as_deref().unwrap_or_default();
        return format!("{pending} {warning}").trim_end().to_owned();
    }
    let said = status.error.as_deref().or(status.warning.as_deref());
    match (said, status.next_try) {
        (Some(said), Some(next)) => format!("{said} Next try {}.", words::until(next, now)),
        (Some(said), None) => said.to_owned(),
        (None, _) => String::new(),
    }
}

/// Whether it wants its reader.
pub fn wants_attention(status: &CertStatus) -> bool {
    !matches!(badge(status).tone, Tone::Ok | Tone::Busy)
}
