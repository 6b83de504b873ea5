//! Addresses nobody else on this machine uses.
//!
//! Every box under test gets a loopback address of its own, so that it can
//! listen on the real ports 80 and 443 beside other boxes.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

static NEXT: AtomicU8 = AtomicU8::new(1);

/// A loopback address no other test process or box uses.
pub fn own_address() -> Ipv4Addr {
    // 127.0.x.x is left to everybody else; each of the 63,750 processes that may live at once has a pair of its own.
    let process = std::process::id() % (255 * 250);
    let second = u8::try_from(1 + process / 250).unwrap();
    let third = u8::try_from(process % 250).unwrap();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, second, third, number)
}

/// Whether something accepts connections there.
pub fn accepts(address: impl Into<std::net::IpAddr>, port: u16) -> bool {
    let address = std::net::SocketAddr::new(address.into(), port);
    std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200)).is_ok()
}
