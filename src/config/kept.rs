//! The settings that were last in force, kept in the data folder.
//!
//! A mistake in the files must not take every site down at the next restart:
//! the daemon then starts with the settings kept here and says so.

use std::path::{Path, PathBuf};

use crate::base::atomic_file;

use super::error::ConfigError;
use super::load::Sources;
use super::settings::Config;

const NAME: &str = "settings.kept";

impl Config {
    /// As [`Config::load`]; when the files have a mistake, the settings that
    /// were last in force together with it.
    ///
    /// # Errors
    /// The mistake, when no settings are kept either.
    pub fn load_or_kept(
        file: &Path,
        routes_d: &Path,
        data_dir: Option<&Path>,
    ) -> Result<(Self, Option<ConfigError>), ConfigError> {
        let mistake = match Self::load(file, routes_d) {
            Ok(config) => return Ok((config, None)),
            Err(mistake) => mistake,
        };
        let data_dir = data_dir.map_or_else(|| data_dir_in(file), Path::to_owned);
        match read(&data_dir).and_then(|sources| sources.parse().ok()) {
            Some(config) => Ok((config, Some(mistake))),
            None => Err(mistake),
        }
    }
}

/// The data folder a file with a mistake elsewhere names; the usual one otherwise.
fn data_dir_in(file: &Path) -> PathBuf {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.split('#').next().unwrap_or(value);
        (key.trim() == "data_dir").then(|| value.trim().trim_matches('"').to_owned())
    });
    named.map_or_else(|| Config::default().data_dir, PathBuf::from)
}

fn read(data_dir: &Path) -> Option<Sources> {
    let text = std::fs::read(data_dir.join(NAME)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Keeps what is in force now.
pub(super) fn keep(data_dir: &Path, sources: &Sources) {
    let written = serde_json::to_vec(sources)
        .map_err(|e| e.to_string())
        .and_then(|bytes| {
            atomic_file::write(&data_dir.join(NAME), &bytes, 0o600).map_err(|e| e.to_string())
        });
    if let Err(error) = written {
        tracing::warn!(%error, "the settings in force could not be kept for the next start");
    }
}
