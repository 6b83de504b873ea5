//! Waiting for a state, never for a while.

use std::time::{Duration, Instant};

/// Asks every 50 ms until `ask` gives a value; panics with `what` and its
/// last answer when `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(last) if begun.elapsed() > limit => {
                panic!("waited {limit:?} for {what}; last seen: {last}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// [`until`] for something that is either so or not.
pub fn until_true(what: &str, limit: Duration, mut ask: impl FnMut() -> bool) {
    until(what, limit, || {
        if ask() { Ok(()) } else { Err("not yet".into()) }
    });
}

/// Seconds, for short calls.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
