//! Who listens on a port, read from the kernel's tables without asking any program.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A socket that takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListeningSocket {
    /// Where.
    pub address: SocketAddr,
    /// The kernel's number of it.
    pub inode: u64,
}

/// The sockets that listen on one of `ports`.
pub fn listening_on(ports: &[u16]) -> Vec<ListeningSocket> {
    let mut all = listening("/proc/net/tcp");
    all.extend(listening("/proc/net/tcp6"));
    all.retain(|s| ports.contains(&s.address.port()));
    all
}

/// A line of the kernel's, and no more: it writes as much as is asked for.
const LINE: usize = 150;

/// The listening sockets of one table. The kernel tells them first, and looks through its whole
/// table of connections for what comes after them: it is asked for no more than one of those.
fn listening(path: &str) -> Vec<ListeningSocket> {
    match File::open(path) {
        Ok(file) => table(BufReader::with_capacity(LINE, file)),
        Err(_) => Vec::new(),
    }
}

fn table(text: impl BufRead) -> Vec<ListeningSocket> {
    let lines = text.lines().map_while(Result::ok).skip(1);
    lines.map_while(|line| socket(&line)).flatten().collect()
}

/// The program of each socket, as far as this user may see: its name, and whether it is `own`, this very process.
pub fn programs(sockets: &[ListeningSocket]) -> HashMap<u64, (String, bool)> {
    let mut found = HashMap::new();
    let own = std::process::id();
    let ours = sockets_of(Path::new("/proc/self"));
    // As a rule all are ours, and nobody else has to be looked at.
    if sockets.iter().all(|s| ours.contains(&s.inode)) {
        let name = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let named = |s: &ListeningSocket| (s.inode, (name.trim().to_owned(), true));
        return sockets.iter().map(named).collect();
    }
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return found;
    };
    for process in processes.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        for inode in sockets_of(&process.path()) {
            if !sockets.iter().any(|s| s.inode == inode) {
                continue;
            }
            let name = std::fs::read_to_string(process.path().join("comm"));
            let name = name.map_or_else(|_| pid.to_string(), |n| n.trim().to_owned());
            let entry = found.entry(inode).or_insert((name, pid == own));
            entry.1 |= pid == own;
        }
    }
    found
}

/// The numbers of the sockets a process holds.
fn sockets_of(process: &Path) -> Vec<u64> {
    let Ok(files) = std::fs::read_dir(process.join("fd")) else {
        return Vec::new();
    };
    files
        .flatten()
        .filter_map(|file| {
            let target = std::fs::read_link(file.path()).ok()?;
            let name = target.to_str()?.strip_prefix("socket:[")?;
            name.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// A line of `/proc/net/tcp` or `tcp6`: state 0A listens, and `None` says that another does not.
/// Addresses are words of the machine's own order; one that is not understood is left out.
fn socket(line: &str) -> Option<Option<ListeningSocket>> {
    let parts: Vec<&str> = line.split_whitespace().collect();
    if parts.get(3) != Some(&"0A") {
        return None;
    }
    let told = || {
        Some(ListeningSocket {
            address: address(parts.get(1)?)?,
            inode: parts.get(9)?.parse().ok()?,
        })
    };
    Some(told())
}

fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let hex = host.get(at..at + 8)?;
        Some(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes())
    };
    let ip = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_listening_sockets_are_read_from_the_kernels_tables() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
             1: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        let found = table(text.as_bytes());
        if cfg!(target_endian = "little") {
            let address = "127.0.0.1:80".parse().unwrap();
            assert_eq!(
                found,
                [ListeningSocket {
                    address,
                    inode: 4711
                }]
            );
        }
        let six = "h\n 0: 00000000000000000000000000000000:01BB 0:0 0A 0:0 0:0 0 0 0 9 1\n";
        assert_eq!(
            table(six.as_bytes())[0].address,
            "[::]:443".parse().unwrap()
        );
        assert!(
            table("".as_bytes()).is_empty() && table("h\nnonsense 1 2 0A".as_bytes()).is_empty()
        );
    }

    #[test]
    fn a7_a_socket_of_this_process_is_known_as_its_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = listening_on(&[port]);
        assert_eq!(found.len(), 1);
        let programs = programs(&found);
        assert!(programs[&found[0].inode].1, "{programs:?}");
    }
}
