//! Where a name points, asked of one DNS server or of the system.
//!
//! Only enough of DNS for that: one question, addresses out of the answer
//! (the server follows aliases). Used before an order, so that a name that
//! does not exist yet costs no try at the certificate authority.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::base::secret::fill_random;

/// What the lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The name has these addresses.
    Addresses(Vec<IpAddr>),
    /// The name certainly has none.
    Nowhere,
    /// Nobody could say; why.
    Unknown(String),
}

const WAIT: Duration = Duration::from_secs(2);
const SYSTEM_WAIT: Duration = Duration::from_secs(10);
const TRIES: u32 = 2;

/// Asks `resolver`, or the system when there is none.
pub async fn lookup(host: &str, resolver: Option<SocketAddr>) -> Lookup {
    match resolver {
        Some(server) => {
            let (four, six) = tokio::join!(ask(host, A, server), ask(host, AAAA, server));
            join(four, six)
        }
        None => system(host).await,
    }
}

async fn system(host: &str) -> Lookup {
    match tokio::time::timeout(SYSTEM_WAIT, tokio::net::lookup_host((host, 80))).await {
        Err(_) => Lookup::Unknown("the system's resolver did not answer".into()),
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = found.map(|a| a.ip()).collect();
            addresses.dedup();
            if addresses.is_empty() {
                Lookup::Nowhere
            } else {
                Lookup::Addresses(addresses)
            }
        }
        // getaddrinfo tells the two apart only in its text.
        Ok(Err(e)) => {
            let said = e.to_string();
            if said.contains("not known") || said.contains("No address") {
                Lookup::Nowhere
            } else {
                Lookup::Unknown(said)
            }
        }
    }
}

fn join(four: Lookup, six: Lookup) -> Lookup {
    match (four, six) {
        (Lookup::Addresses(mut a), Lookup::Addresses(b)) => {
            a.extend(b);
            Lookup::Addresses(a)
        }
        (Lookup::Addresses(a), _) | (_, Lookup::Addresses(a)) => Lookup::Addresses(a),
        (Lookup::Nowhere, Lookup::Nowhere) => Lookup::Nowhere,
        (Lookup::Unknown(why), _) | (_, Lookup::Unknown(why)) => Lookup::Unknown(why),
    }
}

const A: u16 = 1;
const AAAA: u16 = 28;

async fn ask(host: &str, kind: u16, server: SocketAddr) -> Lookup {
    let mut last = String::new();
    for _ in 0..TRIES {
        match exchange(host, kind, server).await {
            Ok(found) => return found,
            Err(why) => last = why,
        }
    }
    Lookup::Unknown(last)
}

async fn exchange(host: &str, kind: u16, server: SocketAddr) -> Result<Lookup, String> {
    let said = |e: std::io::Error| format!("the DNS server {server} cannot be asked: {e}");
    let local: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let mut id = [0u8; 2];
    fill_random(&mut id).map_err(|e| e.to_string())?;
    let socket = UdpSocket::bind(local).await.map_err(said)?;
    socket.connect(server).await.map_err(said)?;
    socket.send(&question(id, host, kind)).await.map_err(said)?;
    let mut answer = [0u8; 4096];
    loop {
        let length = tokio::time::timeout(WAIT, socket.recv(&mut answer))
            .await
            .map_err(|_| format!("the DNS server {server} did not answer"))?
            .map_err(said)?;
        if answer[..length].starts_with(&id) {
            return read(&answer[..length], kind)
                .ok_or_else(|| format!("the DNS server {server} answered something unreadable"));
        }
    }
}

fn question(id: [u8; 2], host: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in host.split('.') {
        message.push(u8::try_from(label.len().min(63)).unwrap_or(63));
        message.extend(label.bytes().take(63));
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// Reads an answer; `None` when it is not one.
pub(super) fn read(message: &[u8], kind: u16) -> Option<Lookup> {
    let word = |at: usize| {
        Some(u16::from_be_bytes([
            *message.get(at)?,
            *message.get(at + 1)?,
        ]))
    };
    match word(2)? & 0x000f {
        0 => {}
        3 => return Some(Lookup::Nowhere),
        other => {
            return Some(Lookup::Unknown(format!(
                "the DNS server answered with error {other}"
            )));
        }
    }
    let (questions, answers) = (word(4)?, word(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(message, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = skip_name(message, at)?;
        let (this, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if this == kind {
            if let Ok(four) = <[u8; 4]>::try_from(data) {
                found.push(IpAddr::from(four));
            } else if let Ok(six) = <[u8; 16]>::try_from(data) {
                found.push(IpAddr::from(six));
            }
        }
        at += 10 + length;
    }
    Some(if found.is_empty() {
        Lookup::Nowhere
    } else {
        Lookup::Addresses(found)
    })
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            l if l & 0xc0 == 0xc0 => return Some(at + 2),
            l => at += 1 + l,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every question with `code` and, when it is 0 and
    /// the question is for A, an alias and one address.
    async fn server(code: u8) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0u8; 512];
            loop {
                let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
                let mut answer = buffer[..n].to_vec();
                answer[2..4].copy_from_slice(&[0x81, code]);
                if code == 0 && buffer[n - 3] == 1 {
                    answer[7] = 2;
                    answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12]);
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 7]);
                }
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn f5_a_name_is_somewhere_nowhere_or_unknown() {
        let there = lookup("shop.example.com", Some(server(0).await)).await;
        assert_eq!(there, Lookup::Addresses(vec!["192.0.2.7".parse().unwrap()]));
        let nowhere = lookup("shop.example.com", Some(server(3).await)).await;
        assert_eq!(nowhere, Lookup::Nowhere);
        let failing = lookup("shop.example.com", Some(server(2).await)).await;
        assert!(matches!(failing, Lookup::Unknown(_)), "{failing:?}");
    }

    #[test]
    fn wild_answers_do_not_panic() {
        for length in 0..40 {
            for filler in [0u8, 0xc0, 0xff, 7] {
                let mut message = vec![filler; length];
                if length > 3 {
                    message[3] = 0;
                }
                let _ = read(&message, A);
            }
        }
    }
}
