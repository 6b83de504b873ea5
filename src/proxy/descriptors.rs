//! Descriptors: room in the process's table for those of as many connections as may come, made before they do.
//!
//! The kernel doubles the table when it is full. In a process of several threads whoever opens one too many waits until every
//! processor has seen the new one, 5 to 15 ms, and so does everybody on his worker: in the midst of a burst of connections, at
//! each power of two. The table is never made smaller again, so one high number, taken and given back, is enough.
use std::fs::File;
use std::io;

use rustix::process::{Resource, getrlimit};

/// The edge's connection to a client and the one to its app.
const OF_A_CONNECTION: u64 = 2;
/// What the rest of the process has open.
const REST: u64 = 512;
/// A table of so many takes a megabyte of the system's memory; for more connections it grows as they come.
const MOST: u64 = 1 << 17;

/// Makes room for so many connections, as far as this process may have them at all.
pub(super) fn make_room(connections: u32) {
    let room = room(connections, getrlimit(Resource::Nofile).current);
    if let Err(error) = taken_and_given_back(room) {
        tracing::debug!(%error, room, "no room for descriptors was made ahead of need");
    }
}

fn room(connections: u32, allowed: Option<u64>) -> u64 {
    let wanted = u64::from(connections) * OF_A_CONNECTION + REST;
    wanted.min(MOST).min(allowed.unwrap_or(MOST))
}

fn taken_and_given_back(room: u64) -> io::Result<()> {
    let highest = i32::try_from(room).unwrap_or(i32::MAX).saturating_sub(1);
    let any = File::open("/dev/null")?;
    rustix::io::fcntl_dupfd_cloexec(&any, highest)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_there_is_room_for_descriptors_before_they_are_needed() {
        assert_eq!(room(20_000, Some(65_536)), 40_512);
        assert_eq!(room(20_000, None), 40_512);
        assert_eq!(room(20_000, Some(1_024)), 1_024);
        assert_eq!(room(u32::MAX, None), MOST);
        let allowed = getrlimit(Resource::Nofile).current;
        make_room(20_000);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size: u64 = size.unwrap().trim().parse().unwrap();
        assert!(size >= room(20_000, allowed), "{size}");
        // And nothing of it is kept.
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let numbers = open.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let highest = numbers.map(|number| number.parse::<u64>().unwrap()).max();
        assert!(highest.unwrap() < room(20_000, allowed) - 1, "{highest:?}");
    }
}
