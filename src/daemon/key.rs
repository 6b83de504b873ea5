//! The key of a data folder, `master.key`: made once, and never a new one beside what the lost one sealed.

use std::path::Path;

use crate::base::secret::MasterKey;
use crate::db;

/// The key of this data folder; a new one only for a folder that has no state
/// yet, because what is sealed in that opens with no other. A folder that had
/// state and lost it is no new one either: a first start makes the key, then
/// the state, then the figures.
pub fn master_key(data_dir: &Path) -> Result<MasterKey, String> {
    let (key, state) = (data_dir.join("master.key"), data_dir.join("state.db"));
    let figures = data_dir.join("metrics.db");
    let there = |path: &Path| {
        path.try_exists()
            .map_err(|e| format!("{}: {e}", path.display()))
    };
    // It is made anew from them.
    let kept = db::has_snapshots(&state);
    if (there(&state)? || kept) && !there(&key)? {
        return Err(format!(
            "{key} is missing, and {state} is there: the passwords, keys and environments in it open with that key only, so no new one is made. \
             Bring the file back (32 bytes, `chown freehold:freehold`, `chmod 600`) from the backup or snapshot of this box, from the box that {folder} was copied from, \
             or from wherever the key was put aside. Only if it is lost for good: move {state} and {safe} away to begin anew.",
            key = key.display(),
            state = state.display(),
            safe = state.with_extension("safe").display(),
            folder = data_dir.display(),
        ));
    }
    if there(&key)? && there(&figures)? && !there(&state)? && !kept {
        return Err(format!(
            "{state} is missing, and {key} and {figures} are there: it held the apps, domains, databases and their passwords of this box, so no empty one is made in its place. \
             Bring the file back (`chown freehold:freehold`, `chmod 600`) from the backup or snapshot of this box; what runs in Docker is untouched meanwhile. \
             Only if it is lost for good: move {key} away to begin anew, and what runs now is then nobody's.",
            key = key.display(),
            state = state.display(),
            figures = figures.display(),
        ));
    }
    MasterKey::open_or_create(&key).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_a_lost_state_is_no_new_one_beside_the_key_that_sealed_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        // Killed at its first start, after the key and before the state.
        master_key(folder.path()).unwrap();
        master_key(folder.path()).unwrap();
        for name in ["state.db", "metrics.db"] {
            std::fs::write(file(name), "").unwrap();
        }
        master_key(folder.path()).unwrap();
        std::fs::remove_file(file("state.db")).unwrap();
        let why = master_key(folder.path()).unwrap_err();
        assert!(why.contains("state.db is missing"), "{why}");
        assert!(why.contains("Bring the file back"), "{why}");
        // As the sentence says: begun anew on purpose.
        std::fs::rename(file("master.key"), file("old.key")).unwrap();
        master_key(folder.path()).unwrap();
    }

    #[test]
    fn f8_a_lost_master_key_is_no_new_one_beside_what_it_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let (key, state) = (
            folder.path().join("master.key"),
            folder.path().join("state.db"),
        );
        master_key(folder.path()).unwrap();
        std::fs::write(&state, "").unwrap();
        master_key(folder.path()).unwrap();
        std::fs::remove_file(&key).unwrap();
        let why = master_key(folder.path()).unwrap_err();
        assert!(why.contains(&key.display().to_string()), "{why}");
        assert!(why.contains("Bring the file back"), "{why}");
        assert!(!key.exists(), "a new key was written");
        std::fs::remove_file(&state).unwrap();
        master_key(folder.path()).unwrap();
        assert!(key.exists());
    }
}
