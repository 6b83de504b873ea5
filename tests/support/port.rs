//! Ports for servers that must be told one: held for this process alone.

use std::fs::File;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;

/// Below the range from which the system itself gives ports, so that neither
/// an outgoing connection nor a bind to port 0 can take one before the server
/// it was chosen for is up.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// The locks of what this process holds, until it ends.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that is free on `address`, and that no other test is given while
/// this process lives: test binaries run side by side.
pub fn free_port(address: impl Into<IpAddr>) -> u16 {
    let address = address.into();
    // One folder a person: locks of root's would be nobody else's to open.
    let who = std::fs::metadata("/proc/self").unwrap().uid();
    let locks = std::env::temp_dir().join(format!("freehold-test-ports-{who}"));
    std::fs::create_dir_all(&locks).unwrap();
    let mut held = HELD.lock().unwrap();
    // Processes begin at different places; whom the lock refuses goes on.
    let begin = u16::try_from(std::process::id() % u32::from(RANGE.end - RANGE.start)).unwrap();
    for port in (RANGE.start + begin..RANGE.end).chain(RANGE) {
        let lock = File::create(locks.join(port.to_string())).unwrap();
        if lock.try_lock().is_err() || TcpListener::bind((address, port)).is_err() {
            continue;
        }
        held.push(lock);
        return port;
    }
    panic!("no port of {RANGE:?} is free on {address}");
}
