//! Which names need a certificate, and from whom.

use std::path::PathBuf;

use crate::base::ids::HostName;

/// The name under which the box's own address certificate is kept.
pub const BOX: &str = "@box";

/// Where the certificate of a name comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configured ACME server, over HTTP-01.
    Acme,
    /// The box's own certificate authority.
    Internal,
    /// Files the user keeps up to date.
    Files {
        /// The chain, PEM, leaf first.
        cert: PathBuf,
        /// Its private key, PEM.
        key: PathBuf,
    },
}

impl Source {
    /// The stored word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Internal => "internal",
            Self::Files { .. } => "files",
        }
    }

    /// Of two wishes for one name the more particular one counts.
    fn rank(&self) -> u8 {
        match self {
            Self::Files { .. } => 0,
            Self::Internal => 1,
            Self::Acme => 2,
        }
    }
}

/// A name that needs a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Lower case: `shop.example.com`, or `*.example.com` with files or the box's CA.
    pub host: String,
    /// From whom.
    pub source: Source,
}

/// One wish a name, sorted; private names go to the box's own CA, since no
/// public authority would issue for them.
pub(super) fn settle(wanted: Vec<Wanted>) -> Vec<Wanted> {
    let mut settled: Vec<Wanted> = wanted
        .into_iter()
        .map(|mut w| {
            let bare = w.host.strip_prefix("*.").unwrap_or(&w.host);
            let private = HostName::parse(bare).is_ok_and(|h| h.is_private());
            if w.source == Source::Acme && private {
                w.source = Source::Internal;
            }
            w
        })
        .collect();
    settled.sort_by(|a, b| {
        (&a.host, a.source.rank(), format!("{:?}", a.source)).cmp(&(
            &b.host,
            b.source.rank(),
            format!("{:?}", b.source),
        ))
    });
    settled.dedup_by(|later, first| later.host == first.host);
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(host: &str, source: Source) -> Wanted {
        Wanted {
            host: host.into(),
            source,
        }
    }

    #[test]
    fn f5_private_names_go_to_the_boxs_own_ca() {
        let settled = settle(vec![
            want("tasks.test", Source::Acme),
            want("tasks.localhost", Source::Acme),
            want("*.db.internal", Source::Acme),
        ]);
        let words: Vec<_> = settled
            .iter()
            .map(|w| (w.host.as_str(), w.source.word()))
            .collect();
        assert_eq!(
            words,
            [
                ("*.db.internal", "internal"),
                ("tasks.localhost", "internal"),
                ("tasks.test", "acme")
            ]
        );
    }

    #[test]
    fn the_more_particular_wish_counts_in_any_order() {
        let files = Source::Files {
            cert: "/a".into(),
            key: "/b".into(),
        };
        for order in [[Source::Acme, files.clone()], [files.clone(), Source::Acme]] {
            let wishes = order.into_iter().map(|s| want("a.example", s)).collect();
            assert_eq!(settle(wishes), [want("a.example", files.clone())]);
        }
    }
}
