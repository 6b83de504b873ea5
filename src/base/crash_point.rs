//! Named lines at which the tests kill the daemon.
//!
//! With the cargo feature `crash-points` and `FREEHOLD_CRASH_AT=<name>` in the
//! environment the process kills itself (SIGKILL, nothing flushed) the first
//! time it passes that point. `FREEHOLD_CRASH_MARK=<file>` is created first,
//! with the number of the process that is about to die in it, and a point whose
//! mark exists no longer fires, so that a restarted daemon
//! with the same environment goes on. Several names stand apart by commas; each
//! then has a mark of its own, `<file>` with the name behind it, and the daemon
//! dies once at each. Without the feature this is nothing.

/// Passes the point `name`, such as `deploy.building.before`.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Passes the point `name`, such as `deploy.building.before`.
#[cfg(feature = "crash-points")]
pub fn hit(name: &str) {
    let Ok(wanted) = std::env::var("FREEHOLD_CRASH_AT") else {
        return;
    };
    if !wanted.split(',').any(|one| one == name) {
        return;
    }
    if let Ok(mut mark) = std::env::var("FREEHOLD_CRASH_MARK") {
        if wanted.contains(',') {
            mark.push_str(name);
        }
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&mark);
        let Ok(mut made) = made else {
            return;
        };
        // Who sees the mark may be quicker than the kill: so it can wait for the end of this very process.
        let number = std::process::id().to_string();
        if std::io::Write::write_all(&mut made, number.as_bytes()).is_err() {
            std::process::abort();
        }
    }
    let me = rustix::process::getpid();
    if rustix::process::kill_process(me, rustix::process::Signal::KILL).is_err() {
        std::process::abort();
    }
    std::thread::sleep(std::time::Duration::from_secs(5));
}
