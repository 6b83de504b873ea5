//! Addresses nobody else on this machine uses.
//!
//! Every box under test gets a loopback address of its own, so that it can
//! listen on the real ports 80 and 443 beside other boxes.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

static NEXT: AtomicU8 = AtomicU8::new(1);

/// A loopback address no other test process or box uses.
pub fn own_address() -> Ipv4Addr {
    let process = std::process::id() % 60_000;
    let third = u8::try_from(process / 250).unwrap();
    let second = u8::try_from(process % 250).unwrap();
    // 127.0.x.x is left to everybody else.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, second.max(1), third, number)
}

/// Whether something accepts connections there.
pub fn accepts(address: impl Into<std::net::IpAddr>, port: u16) -> bool {
    let address = std::net::SocketAddr::new(address.into(), port);
    std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200)).is_ok()
}
