//! The boxes this person uses from here: address, token and pinned root of each, in one file.
//!
//! `~/.config/freehold/boxes.toml`, 0600. `FREEHOLD_HOST` and `FREEHOLD_TOKEN` win over it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::output::Fail;
use crate::base::atomic_file;
use crate::base::secret::Secret;

/// One box.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownBox {
    /// `panel.example.com`, with a port where it is not 443.
    pub address: String,
    /// The token.
    pub token: Secret,
    /// The box's own root, PEM, where no public one signs for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

/// All of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Boxes {
    /// The one used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default, rename = "box")]
    pub all: BTreeMap<String, KnownBox>,
}

fn file() -> Result<PathBuf, Fail> {
    let at = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let folder = match (at("XDG_CONFIG_HOME"), at("HOME")) {
        (Some(config), _) => PathBuf::from(config),
        (None, Some(home)) => PathBuf::from(home).join(".config"),
        (None, None) => {
            return Err(Fail::usage(
                "there is no home folder to keep boxes in: set HOME, or FREEHOLD_HOST and FREEHOLD_TOKEN",
            ));
        }
    };
    Ok(folder.join("freehold/boxes.toml"))
}

impl Boxes {
    /// Those of this person; none when there is no file.
    ///
    /// # Errors
    /// That the file cannot be read or is damaged.
    pub fn read() -> Result<Self, Fail> {
        let Ok(path) = file() else {
            return Ok(Self::default());
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Fail::usage(format!("{}: {e}", path.display()))),
        };
        // The parser's own words would show a line with a token on it.
        toml::from_str(&text).map_err(|_| {
            Fail::usage(format!(
                "{} is damaged: remove it and log in again with `freehold login`",
                path.display()
            ))
        })
    }

    /// Keeps them.
    ///
    /// # Errors
    /// That the file cannot be written.
    pub fn write(&self) -> Result<(), Fail> {
        let path = file()?;
        let bad = |e: String| Fail::usage(format!("{}: {e}", path.display()));
        let text = toml::to_string(self).map_err(|e| bad(e.to_string()))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| bad(e.to_string()))?;
        }
        atomic_file::write(&path, text.as_bytes(), 0o600).map_err(|e| bad(e.to_string()))
    }

    /// The box of that name, or the current one when none is named.
    ///
    /// # Errors
    /// That there is none of that name.
    pub fn pick(&self, name: Option<&str>) -> Result<Option<&KnownBox>, Fail> {
        let Some(name) = name.or(self.current.as_deref()) else {
            return Ok(None);
        };
        match self.all.get(name) {
            Some(known) => Ok(Some(known)),
            None => {
                let known: Vec<&str> = self.all.keys().map(String::as_str).collect();
                let rest = match known.is_empty() {
                    true => "use `freehold login HOST` first".to_owned(),
                    false => format!("known are {}", known.join(", ")),
                };
                Err(Fail::not_found(format!(
                    "there is no box \"{name}\" here: {rest}"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_boxes_are_read_as_they_are_written_and_one_is_picked() {
        let known = |address: &str| KnownBox {
            address: address.into(),
            token: Secret::new("freehold_pat_x"),
            root: None,
        };
        let boxes = Boxes {
            current: Some("home".into()),
            all: [
                ("home".to_owned(), known("home.test")),
                ("work".to_owned(), known("work.test:8443")),
            ]
            .into(),
        };
        let again: Boxes = toml::from_str(&toml::to_string(&boxes).unwrap()).unwrap();
        let address = |name| again.pick(name).unwrap().unwrap().address.clone();
        assert_eq!(address(None), "home.test");
        assert_eq!(address(Some("work")), "work.test:8443");
        assert!(again.pick(Some("nope")).is_err());
        assert!(Boxes::default().pick(None).unwrap().is_none());
    }
}
