//! Fuzz target of a DNS server's answer.

use super::dns;

/// Whoever answers on the way: addresses, none, or unreadable, and an end.
pub fn dns(data: &[u8]) {
    for kind in [1, 28] {
        let _lookup = dns::read(data, kind);
    }
}
