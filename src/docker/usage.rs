//! What the engine's things take on disk.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::engine::{Engine, SHORT};
use super::error::EngineError;

/// Bytes on disk, of everything the engine holds, ours or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Image layers.
    pub images: u64,
    /// What containers wrote outside volumes.
    pub containers: u64,
    /// Volumes.
    pub volumes: u64,
    /// Build cache.
    pub build_cache: u64,
}

/// Adding up sizes walks every file of every volume.
pub(super) const WALK: Duration = Duration::from_secs(120);

impl Engine {
    /// Adds up what is on disk. Slow on boxes with large volumes: not for every page.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn disk_usage(&self) -> Result<DiskUsage, EngineError> {
        let value = self
            .raw("disk usage", WALK, http::Method::GET, "/system/df")
            .await?;
        Ok(read(&value))
    }

    /// Where the engine keeps images, containers and volumes, as it says itself: it may run
    /// elsewhere.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn folder(&self) -> Result<PathBuf, EngineError> {
        let said = self
            .raw("look at the engine", SHORT, http::Method::GET, "/info")
            .await?;
        let folder = said.get("DockerRootDir").and_then(Value::as_str);
        Ok(PathBuf::from(folder.unwrap_or_default()))
    }
}

fn read(value: &Value) -> DiskUsage {
    let number = |path: &[&str]| {
        let mut at = value;
        for step in path {
            at = at.get(step)?;
        }
        at.as_u64()
    };
    let sum = |list: &str, size: &[&str]| {
        let items = value.get(list).and_then(Value::as_array)?;
        Some(
            items
                .iter()
                .filter_map(|item| {
                    let mut at = item;
                    for step in size {
                        at = at.get(step)?;
                    }
                    at.as_u64()
                })
                .sum::<u64>(),
        )
    };
    DiskUsage {
        images: number(&["ImageUsage", "TotalSize"])
            .or_else(|| number(&["LayersSize"]))
            .unwrap_or(0),
        containers: number(&["ContainerUsage", "TotalSize"])
            .or_else(|| sum("Containers", &["SizeRw"]))
            .unwrap_or(0),
        volumes: number(&["VolumeUsage", "TotalSize"])
            .or_else(|| sum("Volumes", &["UsageData", "Size"]))
            .unwrap_or(0),
        build_cache: number(&["BuildCacheUsage", "TotalSize"])
            .or_else(|| sum("BuildCache", &["Size"]))
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_answers_are_read() {
        let old = serde_json::json!({
            "LayersSize": 10,
            "Containers": [{"SizeRw": 1}, {}],
            "Volumes": [{"UsageData": {"Size": 5}}, {"UsageData": {"Size": -1}}],
            "BuildCache": [{"Size": 3}, {"Size": 4}],
        });
        let new = serde_json::json!({
            "ImageUsage": {"TotalSize": 10}, "ContainerUsage": {"TotalSize": 1},
            "VolumeUsage": {"TotalSize": 5}, "BuildCacheUsage": {"TotalSize": 7},
        });
        let expected = DiskUsage {
            images: 10,
            containers: 1,
            volumes: 5,
            build_cache: 7,
        };
        assert_eq!(read(&old), expected);
        assert_eq!(read(&new), expected);
    }
}
