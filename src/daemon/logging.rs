//! Where the daemon's log goes: JSON lines under systemd's journal and where they are asked for, else plain
//! text. `FREEHOLD_LOG` sets the level (`info` unless given).
//!
//! A panic is a line there too, with its place; the same place is told once a minute, so that whoever finds a mistake of
//! ours cannot fill the disk with it.

use std::panic::PanicHookInfo;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

use crate::base::log_levels;

/// Between two lines about panics at the same place.
const AGAIN: Duration = Duration::from_secs(60);
/// Places that are told apart.
const PLACES: usize = 64;

/// Where panics were, and when that was told.
static TOLD: Mutex<Vec<(String, Instant)>> = Mutex::new(Vec::new());

/// Starts logging, once per process.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_env("FREEHOLD_LOG")
        .unwrap_or_else(|_| EnvFilter::new(log_levels::DEFAULT));
    let json = json || std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was already started");
    }
    std::panic::set_hook(Box::new(panicked));
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let Some(place) = panic.location().map(ToString::to_string) else {
        return;
    };
    // Who panics while another is told of, or where the list cannot be had, is not waited for.
    let is_due = TOLD
        .try_lock()
        .is_ok_and(|mut told| is_due(&mut told, &place, Instant::now()));
    if is_due {
        let what = panic.payload_as_str().unwrap_or("it says nothing");
        tracing::error!(
            place,
            "a panic, which is a mistake of Freehold: {what}. Please report it; the same is said once a minute"
        );
    }
}

fn is_due(told: &mut Vec<(String, Instant)>, place: &str, now: Instant) -> bool {
    told.retain(|(_, at)| now.saturating_duration_since(*at) < AGAIN);
    let is_due = told.len() < PLACES && !told.iter().any(|(known, _)| known == place);
    if is_due {
        told.push((place.to_owned(), now));
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_a_panic_is_told_once_a_minute_by_its_place() {
        let (mut told, now) = (Vec::new(), Instant::now());
        let mut due = |place, after| is_due(&mut told, place, now + Duration::from_secs(after));
        assert!(due("a.rs:1:2", 0) && due("a.rs:3:4", 0));
        assert!(!due("a.rs:1:2", 59) && !due("a.rs:3:4", 59));
        assert!(due("a.rs:1:2", 60));
    }
}
