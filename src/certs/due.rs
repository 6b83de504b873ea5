//! What is to be done for a name now. Pure.

use crate::base::clock::UnixMs;

use super::store::{CertRow, NameRow};
use super::timing::renew_at;

/// What is to be done, or when something will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A certificate is to be had now.
    Now,
    /// The server is to be asked when it wants the certificate renewed.
    AskRenewalInfo,
    /// Nothing before this.
    At(UnixMs),
}

/// Decides for a name of the ACME server at `directory`. A certificate of
/// another server (say, of a staging one) is replaced at once.
pub(super) fn acme(
    name: &NameRow,
    cert: Option<&CertRow>,
    has_open_order: bool,
    directory: &str,
    now: UnixMs,
) -> Due {
    if let Some(next) = name.next_try {
        return if next > now { Due::At(next) } else { Due::Now };
    }
    let cert = cert.filter(|c| c.directory.as_deref() == Some(directory));
    let Some(cert) = cert else {
        return Due::Now;
    };
    let renew = renew_at(cert.life, issued(cert, now), cert.ari_at);
    if has_open_order || renew <= now {
        return Due::Now;
    }
    match cert.ari_check {
        Some(check) if check <= now => Due::AskRenewalInfo,
        Some(check) => Due::At(check.min(renew)),
        None => Due::At(renew),
    }
}

/// Decides for a name of the box's own CA.
pub(super) fn internal(name: &NameRow, cert: Option<&CertRow>, fits: bool, now: UnixMs) -> Due {
    if let Some(next) = name.next_try
        && next > now
    {
        return Due::At(next);
    }
    match cert {
        // Of a time to come: the clock was set back since, and no client takes it yet.
        Some(cert) if cert.life.not_before > now => Due::Now,
        Some(cert) if fits => {
            let renew = renew_at(cert.life, issued(cert, now), None);
            if renew > now {
                Due::At(renew)
            } else {
                Due::Now
            }
        }
        _ => Due::Now,
    }
}

/// When it was issued. By a clock that was ahead and is set back since, nothing is waited for until that time comes.
fn issued(cert: &CertRow, now: UnixMs) -> UnixMs {
    match cert.issued > now {
        true => cert.life.not_before.min(now),
        false => cert.issued,
    }
}

#[cfg(test)]
mod tests {
    use super::super::timing::Life;
    use super::super::wanted::Source;
    use super::*;

    fn name(next_try: Option<UnixMs>) -> NameRow {
        NameRow {
            host: "a.test".into(),
            source: Source::Acme,
            failures: u32::from(next_try.is_some()),
            error: None,
            warning: None,
            next_try,
            told_days: None,
            added: UnixMs(0),
        }
    }

    fn cert(directory: &str, ari_check: Option<UnixMs>) -> CertRow {
        CertRow {
            id: 1,
            host: "a.test".into(),
            source: "acme".into(),
            directory: Some(directory.into()),
            chain_pem: String::new(),
            key_sealed: Vec::new(),
            life: Life {
                not_before: UnixMs(0),
                not_after: UnixMs(90_000),
            },
            issuer: String::new(),
            issued: UnixMs(0),
            ari_at: None,
            ari_check,
        }
    }

    #[test]
    fn f5_a_name_without_a_certificate_of_this_server_is_due() {
        assert_eq!(acme(&name(None), None, false, "d", UnixMs(0)), Due::Now);
        let staging = cert("staging", None);
        assert_eq!(
            acme(&name(None), Some(&staging), false, "d", UnixMs(0)),
            Due::Now
        );
    }

    #[test]
    fn f5_renewal_and_renewal_information_come_in_time() {
        let plain = cert("d", None);
        let ask = |c: &CertRow, now| acme(&name(None), Some(c), false, "d", UnixMs(now));
        assert_eq!(ask(&plain, 10), Due::At(UnixMs(60_000)));
        assert_eq!(ask(&plain, 60_000), Due::Now);
        let asking = cert("d", Some(UnixMs(20)));
        assert_eq!(ask(&asking, 10), Due::At(UnixMs(20)));
        assert_eq!(ask(&asking, 20), Due::AskRenewalInfo);
    }

    #[test]
    fn f5_a_failed_name_waits_for_its_time() {
        let failed = name(Some(UnixMs(500)));
        assert_eq!(
            acme(&failed, None, true, "d", UnixMs(499)),
            Due::At(UnixMs(500))
        );
        assert_eq!(acme(&failed, None, true, "d", UnixMs(500)), Due::Now);
    }

    #[test]
    fn f8_an_open_order_is_gone_on_with() {
        let good = cert("d", None);
        assert_eq!(
            acme(&name(None), Some(&good), true, "d", UnixMs(1)),
            Due::Now
        );
    }

    #[test]
    fn n7_a_certificate_of_a_clock_that_was_ahead_is_renewed_by_the_clock_as_it_is() {
        // The server's own clock was right, ours was not.
        let ahead = CertRow {
            issued: UnixMs(1_000_000),
            ..cert("d", None)
        };
        let ask = |c: &CertRow, now| acme(&name(None), Some(c), false, "d", UnixMs(now));
        assert_eq!(ask(&ahead, 10), Due::At(UnixMs(60_000)));
        assert_eq!(ask(&ahead, 60_000), Due::Now);
        // Ours alone.
        let own = CertRow {
            life: Life {
                not_before: UnixMs(1_000_000),
                not_after: UnixMs(1_090_000),
            },
            ..ahead
        };
        let ask = |c: &CertRow, now| internal(&name(None), Some(c), true, UnixMs(now));
        assert_eq!(ask(&own, 10), Due::Now);
        assert_eq!(ask(&own, 1_000_000), Due::At(UnixMs(1_060_000)));
    }
}
