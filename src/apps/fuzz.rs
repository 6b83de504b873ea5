//! Fuzz targets of what a domain's policies are set to over the API, and of files of variables.

use super::env::{read_file, write_file};
use super::policies::read;
use crate::base::policies::{Policies, VerifierKey};

/// The first line is what is set, the second what is sent then. What is taken can be kept to; no password and no verifier is
/// told of it; and what is told can be sent again and is the same, passwords kept.
pub fn policies(data: &[u8]) {
    let key = VerifierKey::new(b"key");
    let mut stored = Policies::default();
    for line in data.splitn(2, |byte| *byte == b'\n') {
        let Ok(serde_json::Value::Object(sent)) = serde_json::from_slice(line) else {
            return;
        };
        let mut taken = match read(sent, &stored) {
            Ok(taken) => taken,
            Err(why) => {
                assert!(!why.is_empty());
                return;
            }
        };
        assert_eq!(taken.check(), Ok(()));
        taken.take_in(&key);
        assert_eq!(taken.check(), Ok(()));
        let told = taken.told();
        let users = told.get("basic_auth").map(|auth| auth["users"].to_string());
        let text = users.unwrap_or_default();
        assert!(
            !text.contains("\"verifier\":") && !text.contains("\"password\":"),
            "{text}"
        );
        assert_eq!(read(told, &taken).as_ref(), Ok(&taken));
        assert_eq!(taken.over(&stored).over(&taken), taken.over(&stored));
        assert!(taken.words().iter().all(|sentence| !sentence.is_empty()));
        stored = taken;
    }
}

/// What was read of a file is written so that it is read again the same, and every name is one a process can be given.
pub fn env_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match read_file(text) {
        Ok(all) => {
            let pairs = all
                .iter()
                .map(|(name, value)| (name.as_str(), value.expose()));
            let written = write_file(pairs);
            assert_eq!(read_file(&written).ok().as_ref(), Some(&all), "{written:?}");
        }
        Err(why) => assert!(why.to_string().starts_with("line "), "{why}"),
    }
}
