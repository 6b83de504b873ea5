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
    let renew = renew_at(cert.life, cert.issued, cert.ari_at);
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
        Some(cert) if fits => {
            let renew = renew_at(cert.life, cert.issued, None);
            if renew > now {
                Due::At(renew)
            } else {
                Due::Now
            }
        }
        _ => Due::Now,
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
}
