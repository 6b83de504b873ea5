//! File descriptors of this process: how many it may have, has, and leaves to connections of the edge.
//!
//! Who runs out of them can accept nobody, read no state and ask no engine: what strangers may take must leave the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More is never asked for: programs we start go through all they may have.
const MOST: u64 = 1 << 20;
/// What the rest keeps: databases, the engine's and the API's connections, checks, logs, git. 60 are in use on an idle box.
const REST: u64 = 512;
/// The edge's connection to a client and the one to its app.
const OF_A_CONNECTION: u64 = 2;

/// Raises the soft limit to the hard one; gives what the process may have from now on.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MOST).min(MOST);
    if current.is_some_and(|now| now < wanted) {
        let more = Rlimit {
            current: Some(wanted),
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, more) {
            tracing::warn!(%error, "the limit of file descriptors could not be raised");
        }
    }
    allowed()
}

/// How many this process may have.
pub fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many it has; `None` where that cannot be seen, which it cannot for want of one either.
pub fn in_use() -> Option<u64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?;
    // The one that reads is none of them.
    u64::try_from(open.count()).ok()?.checked_sub(1)
}

/// The connections the edge takes of `wanted` in a process that may have `allowed` descriptors: at least one, and never
/// what the rest needs, which is half of few.
pub fn connections(wanted: u32, allowed: u64) -> u32 {
    let rest = REST.min(allowed / 2);
    let fit = (allowed - rest) / OF_A_CONNECTION;
    wanted.min(u32::try_from(fit).unwrap_or(u32::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_connections_leave_the_rest_its_descriptors() {
        // As freehold.service has it, and where nobody set a limit.
        assert_eq!(connections(20_000, 65_536), 20_000);
        assert_eq!(connections(20_000, u64::MAX), 20_000);
        // The default of many systems, a limit far too small, and none at all.
        assert_eq!(connections(20_000, 1_024), 256);
        assert_eq!(connections(20_000, 150), 37);
        assert_eq!(connections(20_000, 0), 1);
        // Whoever wants fewer has fewer.
        assert_eq!(connections(100, 1_024), 100);
        for allowed in 0..3_000 {
            let taken = u64::from(connections(u32::MAX, allowed)) * OF_A_CONNECTION;
            let rest = REST.min(allowed / 2);
            assert!(taken == 2 || taken + rest <= allowed, "{allowed}");
        }
    }

    #[test]
    fn n7_what_is_open_is_counted() {
        let before = in_use().unwrap();
        let _open: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        // Other tests of this process open and close meanwhile.
        assert!(in_use().unwrap() + 25 > before + 50);
        assert!(allowed() >= 64);
    }
}
