//! Build cache of ours, kept below its budget. The engine's records name no owner: ours are those made while a build of
//! ours ran. A neighbour's are never touched, unless they came at the very time of a build here, where nothing tells
//! them apart.

use std::collections::HashMap;

use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::docker::{CacheRecord, EngineError};

use super::Deploys;
use super::store;

impl Deploys {
    /// Takes away what was used least recently of ours, beyond `keep_bytes`; gives the bytes freed.
    pub(super) async fn collect_cache(&self, keep_bytes: u64) -> Result<u64, String> {
        let told = |e: DbError| e.to_string();
        let failed = |e: EngineError| e.to_string();
        let now = UnixMs::now();
        let times = self.0.db.write(move |tx| {
            store::close_builds(tx, now)?;
            store::build_times(tx)
        });
        let times = times.await.map_err(told)?;
        if times.is_empty() {
            return Ok(0);
        }
        let records = self.0.ports.images.cache().await.map_err(failed)?;
        let forgotten: Vec<i64> = times
            .iter()
            .filter(|t| t.ended.is_some() && !records.iter().any(|r| t.holds(r)))
            .map(|t| t.id)
            .collect();
        let gone = too_many(&records, &times, keep_bytes);
        let freed = match gone.is_empty() {
            true => 0,
            false => self
                .0
                .ports
                .images
                .remove_from_cache(&gone)
                .await
                .map_err(failed)?,
        };
        let forget = self
            .0
            .db
            .write(move |tx| store::forget_builds(tx, &forgotten));
        forget.await.map_err(told)?;
        Ok(freed)
    }
}

/// When one build ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BuildTime {
    pub id: i64,
    pub begun: UnixMs,
    /// Nothing while it runs.
    pub ended: Option<UnixMs>,
}

impl BuildTime {
    fn holds(&self, record: &CacheRecord) -> bool {
        record.created_ms >= self.begun.0 && self.ended.is_none_or(|end| record.created_ms <= end.0)
    }
}

/// What goes, so that ours take at most `keep` bytes: least recently used first. What a later record was made on top of
/// counts as used with it, since it cannot go before.
fn too_many(records: &[CacheRecord], times: &[BuildTime], keep: u64) -> Vec<String> {
    let mut ours: Vec<&CacheRecord> = records
        .iter()
        .filter(|r| !r.held && times.iter().any(|t| t.holds(r)))
        .collect();
    let mut used: HashMap<&str, i64> = records.iter().map(|r| (r.id.as_str(), r.used_ms)).collect();
    // Children are younger than what they were made on top of.
    let mut by_age: Vec<&CacheRecord> = records.iter().collect();
    by_age.sort_by_key(|r| std::cmp::Reverse(r.created_ms));
    for record in by_age {
        let own = used
            .get(record.id.as_str())
            .copied()
            .unwrap_or(record.used_ms);
        for parent in &record.parents {
            if let Some(at) = used.get_mut(parent.as_str()) {
                *at = own.max(*at);
            }
        }
    }
    ours.sort_by_key(|r| {
        (
            used.get(r.id.as_str()).copied(),
            std::cmp::Reverse(r.created_ms),
        )
    });
    let mut total: u64 = ours.iter().map(|r| r.size).sum();
    let mut gone = Vec::new();
    for record in ours {
        if total <= keep {
            break;
        }
        total -= record.size;
        gone.push(record.id.clone());
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, on: &[&str], size: u64, created_ms: i64, used_ms: i64) -> CacheRecord {
        CacheRecord {
            id: id.into(),
            parents: on.iter().map(|p| (*p).to_owned()).collect(),
            size,
            held: false,
            created_ms,
            used_ms,
        }
    }

    fn time(begun: i64, ended: Option<i64>) -> BuildTime {
        BuildTime {
            id: 1,
            begun: UnixMs(begun),
            ended: ended.map(UnixMs),
        }
    }

    #[test]
    fn f9_only_cache_of_our_own_builds_goes() {
        let mut image = record("image", &[], 50, 12, 12);
        image.held = true;
        let records = [
            record("before", &[], 10, 9, 9),
            record("ours", &[], 10, 10, 10),
            image,
            record("last", &[], 10, 20, 20),
            record("after", &[], 10, 21, 21),
        ];
        assert_eq!(
            too_many(&records, &[time(10, Some(20))], 0),
            ["ours", "last"]
        );
        assert_eq!(too_many(&records, &[time(21, None)], 0), ["after"]);
        assert!(too_many(&records, &[], 0).is_empty());
        assert!(too_many(&records, &[time(10, Some(20))], 20).is_empty());
    }

    #[test]
    fn f9_the_least_recently_used_goes_first_and_nothing_before_what_stands_on_it() {
        let records = [
            record("base", &[], 10, 1, 1),
            record("top", &["base"], 10, 2, 9),
            record("old", &[], 10, 3, 3),
        ];
        let ours = [time(0, None)];
        assert_eq!(too_many(&records, &ours, 20), ["old"]);
        assert_eq!(too_many(&records, &ours, 10), ["old", "top"]);
        assert_eq!(too_many(&records, &ours, 0), ["old", "top", "base"]);
    }
}
