//! The listening sockets: the edge's, which systemd holds for us or which are our own, and the two of the dashboard.
//!
//! Held sockets outlive the daemon, so connections made while it restarts wait in the kernel instead of being refused.
//! They come in the order, or with the names, `http` and `https` (sd_listen_fds(3)). All of them are kept beside whoever
//! takes connections from them: a successor takes them over with those who wait in them.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};

use super::handover::wire::Serving;
use crate::config::{Config, Listen};
use crate::proxy::Listeners;
use crate::web;

/// What listens where.
pub struct Kept {
    pub http: Vec<TcpListener>,
    pub https: Vec<TcpListener>,
    /// Whether somebody else holds those two for us.
    pub held: bool,
    /// Where the next two lie.
    pub run_dir: PathBuf,
    /// `edge.sock`, the dashboard behind the edge.
    pub edge: UnixListener,
    /// `freehold.sock`, the box's owner.
    pub local: UnixListener,
}

impl Kept {
    /// Takes over the held sockets, or binds those of the settings.
    ///
    /// # Errors
    /// A sentence with the remedy when a port or a socket cannot be had.
    pub fn open(config: &Config) -> Result<Self, String> {
        let (http, https, held) = match held()? {
            Some(Listeners { http, https }) => (http, https, true),
            None => (
                vec![bind(config.listen.http)?],
                vec![bind(config.listen.https)?],
                false,
            ),
        };
        let (edge, local) = of_dashboard(config)?;
        Ok(Self {
            http,
            https,
            held,
            run_dir: config.run_dir.clone(),
            edge,
            local,
        })
    }

    /// These of a predecessor, with what the settings want otherwise by now made anew.
    ///
    /// # Errors
    /// A sentence with the remedy when a port or a socket cannot be had.
    pub fn suited(mut self, config: &Config) -> Result<Self, String> {
        if !self.held {
            for (listeners, wanted) in [
                (&mut self.http, config.listen.http),
                (&mut self.https, config.listen.https),
            ] {
                // Any port at all was wanted, and had.
                let is_so = |at: SocketAddr| {
                    at.ip() == wanted.ip() && [at.port(), 0].contains(&wanted.port())
                };
                if !address(listeners).is_some_and(is_so) {
                    *listeners = vec![bind(wanted)?];
                }
            }
        }
        if self.run_dir != config.run_dir {
            (self.edge, self.local) = of_dashboard(config)?;
            self.run_dir.clone_from(&config.run_dir);
        }
        Ok(self)
    }

    /// For the edge to take connections from.
    ///
    /// # Errors
    /// That there are no descriptors.
    pub fn listeners(&self) -> Result<Listeners, String> {
        let of = |all: &[TcpListener]| -> std::io::Result<Vec<TcpListener>> {
            all.iter().map(TcpListener::try_clone).collect()
        };
        let all = || -> std::io::Result<Listeners> {
            Ok(Listeners {
                http: of(&self.http)?,
                https: of(&self.https)?,
            })
        };
        all().map_err(|e| format!("the sockets cannot be used: {e}"))
    }

    /// For the dashboard: behind the edge, and for the box's owner.
    ///
    /// # Errors
    /// That there are no descriptors.
    pub fn dashboard(&self) -> Result<[UnixListener; 2], String> {
        let both = || Ok::<_, std::io::Error>([self.edge.try_clone()?, self.local.try_clone()?]);
        both().map_err(|e| format!("the dashboard's sockets cannot be used: {e}"))
    }

    /// Whether connections are taken somewhere that is not among these addresses.
    pub fn is_elsewhere(&self, at: Serving) -> bool {
        let is_another = |all: &[TcpListener], at: Option<SocketAddr>| {
            at.is_some_and(|at| address(all).is_some_and(|here| here != at))
        };
        is_another(&self.http, Some(at.http)) || is_another(&self.https, at.https)
    }

    /// The addresses the sockets really have; `wanted` where there is none.
    pub fn listen(&self, wanted: &Listen) -> Listen {
        Listen {
            http: address(&self.http).unwrap_or(wanted.http),
            https: address(&self.https).unwrap_or(wanted.https),
            proxy_protocol: wanted.proxy_protocol.clone(),
        }
    }
}

fn address(all: &[TcpListener]) -> Option<SocketAddr> {
    all.first().and_then(|l| l.local_addr().ok())
}

/// Those that somebody holds for us, if anybody does.
fn held() -> Result<Option<Listeners>, String> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut given = ListenFd::from_env();
    if given.len() == 0 {
        return Ok(None);
    }
    let mut all = Listeners::default();
    for at in 0..given.len() {
        let unusable = |e: std::io::Error| {
            format!("the socket handed over as number {at} cannot be used: {e}")
        };
        let listener = given.take_tcp_listener(at).map_err(unusable)?;
        let Some(listener) = listener else { continue };
        // They are ours, and none of the programs' that we start.
        fcntl_setfd(&listener, FdFlags::CLOEXEC).map_err(|e| unusable(e.into()))?;
        let is_http = match names.get(at) {
            Some(&"http") => true,
            Some(&"https") => false,
            _ => at == 0,
        };
        match is_http {
            true => all.http.push(listener),
            false => all.https.push(listener),
        }
    }
    Ok(Some(all))
}

fn of_dashboard(config: &Config) -> Result<(UnixListener, UnixListener), String> {
    let path = |name: &str| config.run_dir.join(name);
    let edge = web::bind_edge(&path("edge.sock")).map_err(|e| format!("edge.sock: {e}"))?;
    let local =
        web::bind_local(&path("freehold.sock")).map_err(|e| format!("freehold.sock: {e}"))?;
    Ok((edge, local))
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
