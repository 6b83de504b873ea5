//! The engine's build cache: one pool for the whole box, whose records name no owner. What is whose is for the caller to
//! know, by when a record was made; only records that are named are taken away.

use std::time::Duration;

use serde::Deserialize;

use super::engine::Engine;
use super::error::EngineError;
use super::usage::WALK;

/// Removing gigabytes of small files takes its time.
const PRUNE: Duration = Duration::from_secs(300);
/// Records named in one call: a URL has its length.
const AT_ONCE: usize = 100;

/// One record of the build cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRecord {
    /// The engine's name for it.
    pub id: String,
    /// Those it was made on top of; they cannot go before it.
    pub parents: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// Held by a build, or shared with an image: taking it away frees nothing.
    pub held: bool,
    /// Unix ms.
    pub created_ms: i64,
    /// Unix ms.
    pub used_ms: i64,
}

/// `GET /system/df`; `Parent` until API 1.41, `Parents` since.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Df {
    build_cache: Option<Vec<Raw>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    parents: Option<Vec<String>>,
    #[serde(default)]
    in_use: bool,
    #[serde(default)]
    shared: bool,
    #[serde(default)]
    size: i64,
    created_at: Option<jiff::Timestamp>,
    last_used_at: Option<jiff::Timestamp>,
}

/// `POST /build/prune`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pruned {
    #[serde(default)]
    space_reclaimed: i64,
}

impl Engine {
    /// All that is in the build cache, ours or not. Before API 1.42 the engine adds up every volume as well.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn build_cache(&self) -> Result<Vec<CacheRecord>, EngineError> {
        let path = match self.api_minor() >= 42 {
            true => "/system/df?type=build-cache",
            false => "/system/df",
        };
        let what = "look into the build cache";
        let value = self.raw(what, WALK, http::Method::GET, path).await?;
        let df: Df = serde_json::from_value(value).map_err(|e| self.error(what, e.into()))?;
        let all = df.build_cache.unwrap_or_default();
        Ok(all.into_iter().filter_map(Raw::read).collect())
    }

    /// Takes these records away, each once nothing is left on top of it; gives the bytes freed. What is in use by then
    /// stays.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn remove_from_build_cache(&self, ids: &[String]) -> Result<u64, EngineError> {
        let what = "prune the build cache";
        let mut freed = 0u64;
        for some in ids.chunks(AT_ONCE) {
            // The filter is a pattern; `Raw::read` lets nothing through that would be more than a name in it.
            let filters = serde_json::json!({ "id": [format!("^({})$", some.join("|"))] });
            let filters = url::form_urlencoded::byte_serialize(filters.to_string().as_bytes())
                .collect::<String>();
            let path = format!("/build/prune?all=1&filters={filters}");
            let value = self.raw(what, PRUNE, http::Method::POST, &path).await?;
            let pruned: Pruned =
                serde_json::from_value(value).map_err(|e| self.error(what, e.into()))?;
            freed = freed.saturating_add(u64::try_from(pruned.space_reclaimed).unwrap_or(0));
        }
        Ok(freed)
    }
}

impl Raw {
    /// Nothing for a record that cannot be told from others.
    fn read(self) -> Option<CacheRecord> {
        let plain = !self.id.is_empty() && self.id.bytes().all(|b| b.is_ascii_alphanumeric());
        let created = self.created_at?;
        plain.then(|| CacheRecord {
            id: self.id,
            parents: self
                .parents
                .unwrap_or_default()
                .into_iter()
                .chain(self.parent)
                .filter(|p| !p.is_empty())
                .collect(),
            size: u64::try_from(self.size).unwrap_or(0),
            held: self.in_use || self.shared,
            created_ms: created.as_millisecond(),
            used_ms: self.last_used_at.unwrap_or(created).as_millisecond(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_records_are_read() {
        let old = serde_json::json!({"ID": "a1", "Parent": "", "Type": "regular", "InUse": false, "Shared": true, "Size": 5,
            "CreatedAt": "2026-11-28T22:06:17.907672687Z", "LastUsedAt": null, "UsageCount": 1});
        let new = serde_json::json!({"ID": "b2", "Parents": ["a1", "c3"], "Size": -1,
            "CreatedAt": "2026-11-28T22:06:18Z", "LastUsedAt": "2026-11-28T22:06:19Z"});
        let read = |v| serde_json::from_value::<Raw>(v).unwrap().read().unwrap();
        let (old, new) = (read(old), read(new));
        assert_eq!((old.held, old.size, old.parents.len()), (true, 5, 0));
        assert_eq!(old.used_ms, old.created_ms);
        assert_eq!((new.held, new.size, new.parents.len()), (false, 0, 2));
        assert_eq!(new.used_ms - new.created_ms, 1_000);
    }

    #[test]
    fn f9_a_record_whose_name_would_be_a_pattern_is_not_ours() {
        let raw = serde_json::json!({"ID": "a|.*", "CreatedAt": "2026-11-28T22:06:18Z"});
        assert_eq!(serde_json::from_value::<Raw>(raw).unwrap().read(), None);
    }
}
