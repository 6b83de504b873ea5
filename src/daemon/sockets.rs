//! The edge's listening sockets: those systemd holds for us, else our own.
//!
//! Held sockets outlive the daemon, so connections made while it restarts wait
//! in the kernel instead of being refused. They come in the order, or with the
//! names, `http` and `https` (sd_listen_fds(3)).

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use crate::config::Listen;
use crate::proxy::Listeners;

/// What listens where.
#[derive(Default)]
pub struct Sockets {
    /// For the edge.
    pub listeners: Listeners,
    /// Whether somebody else holds them for us.
    pub held: bool,
}

impl Sockets {
    /// The addresses the sockets really have; `wanted` where there is none.
    pub fn listen(&self, wanted: &Listen) -> Listen {
        let of = |all: &[TcpListener], otherwise| {
            all.first()
                .and_then(|l| l.local_addr().ok())
                .unwrap_or(otherwise)
        };
        Listen {
            http: of(&self.listeners.http, wanted.http),
            https: of(&self.listeners.https, wanted.https),
            proxy_protocol: wanted.proxy_protocol.clone(),
        }
    }
}

/// Takes over the held sockets, or binds `http` and `https`.
///
/// # Errors
/// A sentence with the remedy when a port cannot be had.
pub fn take(http: SocketAddr, https: SocketAddr) -> Result<Sockets, String> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut given = ListenFd::from_env();
    if given.len() == 0 {
        return Ok(Sockets {
            listeners: Listeners {
                http: vec![bind(http)?],
                https: vec![bind(https)?],
            },
            held: false,
        });
    }
    let mut sockets = Sockets {
        held: true,
        ..Sockets::default()
    };
    for at in 0..given.len() {
        let listener = given
            .take_tcp_listener(at)
            .map_err(|e| format!("the socket handed over as number {at} cannot be used: {e}"))?;
        let Some(listener) = listener else { continue };
        let is_http = match names.get(at) {
            Some(&"http") => true,
            Some(&"https") => false,
            _ => at == 0,
        };
        if is_http {
            sockets.listeners.http.push(listener);
        } else {
            sockets.listeners.https.push(listener);
        }
    }
    Ok(sockets)
}

fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "{address} is taken by another program: find it with `ss -ltnp`, stop it, or change [listen] in the config"
        ),
        std::io::ErrorKind::PermissionDenied => format!(
            "this user may not listen on {address}: start through systemd (freehold.socket), or as root"
        ),
        _ => format!("{address} cannot be listened on: {e}"),
    })
}
