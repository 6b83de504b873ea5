//! A backup's and a restore's state in words, the same on every page. What is stored is never
//! called good: only a restore proves that.

use super::parts::{Badge, Tone};
use super::words;
use crate::backup::{Backup, BackupState, Restore, RestoreState};
use crate::base::clock::UnixMs;

/// The state of a backup as a badge.
pub fn badge(backup: &Backup) -> Badge {
    match (backup.state, backup.check_state.as_deref()) {
        (BackupState::Queued, _) if backup.attempt > 1 => Badge::new(Tone::Warn, "Tried again"),
        (BackupState::Queued, _) => Badge::new(Tone::Busy, "Queued"),
        (BackupState::Running, _) => Badge::new(Tone::Busy, "Running"),
        (BackupState::Verifying, _) => Badge::new(Tone::Busy, "Read back"),
        (BackupState::Stored, Some("bad")) => Badge::new(Tone::Bad, "Damaged"),
        (BackupState::Stored, _) => Badge::new(Tone::Ok, "Stored"),
        (BackupState::Failed, _) => Badge::new(Tone::Bad, "Failed"),
        (BackupState::Expired, _) => Badge::new(Tone::Idle, "Expired"),
    }
}

/// Why it failed, when it is tried, what a check found.
pub fn note(backup: &Backup, now: UnixMs) -> String {
    match backup.state {
        BackupState::Queued if backup.due > now => {
            format!("tried {}", words::until(backup.due, now))
        }
        BackupState::Failed => backup.reason.clone().unwrap_or_default(),
        _ => match (backup.check_state.as_deref(), &backup.check_note) {
            (Some("running"), _) => "being checked".to_owned(),
            (Some("good"), _) => "unpacked to its last byte".to_owned(),
            (Some("bad"), Some(note)) => note.clone(),
            _ => String::new(),
        },
    }
}

/// How long it took.
pub fn took(backup: &Backup) -> String {
    match (backup.started, backup.finished) {
        (Some(begun), Some(end)) => words::length(end.since(begun)),
        _ => String::new(),
    }
}

/// The state of a restore as a badge.
pub fn restore_badge(restore: &Restore) -> Badge {
    match restore.state {
        RestoreState::Queued => Badge::new(Tone::Busy, "Queued"),
        RestoreState::Loading => Badge::new(Tone::Busy, "Loading"),
        RestoreState::Comparing => Badge::new(Tone::Busy, "Comparing"),
        RestoreState::Swapping => Badge::new(Tone::Busy, "Swapping"),
        RestoreState::Done => Badge::new(Tone::Ok, "Done"),
        RestoreState::Failed => Badge::new(Tone::Bad, "Failed"),
    }
}
