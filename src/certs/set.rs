//! What is served right now: certificates by name, the box's own, the answers
//! to challenges. Rebuilt from the rows, published whole when it changed.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use crate::db::DbError;

use super::Inner;
use super::leaf;
use super::order::key_context;
use super::store::{self, CertRow, NameRow, orders};
use super::wanted::{BOX, Source};

/// Everything the edge needs of this domain, at one moment.
#[derive(Clone, Default)]
pub struct CertSet {
    /// By name; `*.example.com` covers one label.
    pub certificates: HashMap<Arc<str>, Arc<CertifiedKey>>,
    /// For connections that name no host.
    pub box_certificate: Option<Arc<CertifiedKey>>,
    /// Token to answer, for `/.well-known/acme-challenge/<token>` on port 80.
    pub challenges: HashMap<String, String>,
}

/// Which certificate of a name is meant: a row, or a load of its files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Row(i64),
    Load(u64),
}

/// What the last set was made of, so that keys are parsed once.
#[derive(Default)]
pub(super) struct Built {
    made_of: HashMap<String, Version>,
    keys: HashMap<i64, Arc<CertifiedKey>>,
}

impl Inner {
    /// Publishes the set as the rows and files have it now, if it changed.
    pub(super) async fn publish_set(&self) -> Result<(), DbError> {
        let mut built = self.built.lock().await;
        let (names, rows, challenges) = self
            .db
            .read(|c| {
                Ok::<_, DbError>((
                    store::names(c)?,
                    store::certificates(c)?,
                    orders::challenges(c)?,
                ))
            })
            .await?;
        let mut set = CertSet {
            challenges: challenges.into_iter().collect(),
            ..CertSet::default()
        };
        let mut now = Built::default();
        for name in &names {
            let Some((version, key)) = self.key_of(name, &rows, &built) else {
                continue;
            };
            if let Version::Row(id) = version {
                now.keys.insert(id, Arc::clone(&key));
            }
            now.made_of.insert(name.host.clone(), version);
            if name.host == BOX {
                set.box_certificate = Some(key);
            } else {
                set.certificates.insert(name.host.as_str().into(), key);
            }
        }
        let same =
            now.made_of == built.made_of && self.served.borrow().challenges == set.challenges;
        *built = now;
        if !same {
            self.served.send_replace(Arc::new(set));
        }
        Ok(())
    }

    fn key_of(
        &self,
        name: &NameRow,
        rows: &[CertRow],
        built: &Built,
    ) -> Option<(Version, Arc<CertifiedKey>)> {
        if let Source::Files { .. } = name.source {
            let (load, leaf) = self.files.of(&name.host)?;
            return Some((Version::Load(load), leaf.key));
        }
        let row = rows
            .iter()
            .find(|r| r.host == name.host && r.source == name.source.word())?;
        if let Some(key) = built.keys.get(&row.id) {
            return Some((Version::Row(row.id), Arc::clone(key)));
        }
        let read = self
            .master
            .open(&key_context(&row.host), &row.key_sealed)
            .map_err(|e| e.to_string())
            .and_then(|key| leaf::read(row.chain_pem.as_bytes(), &key));
        match read {
            Ok(leaf) => Some((Version::Row(row.id), leaf.key)),
            Err(why) => {
                tracing::error!(
                    host = row.host,
                    why,
                    "a stored certificate cannot be used; the others are served"
                );
                None
            }
        }
    }
}
