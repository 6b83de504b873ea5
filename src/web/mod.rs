//! Dashboard, API and hooks, on two sockets.
//!
//! `edge.sock` is what the proxy forwards to: a session cookie is needed, the
//! forwarded headers are the edge's own and trusted. `freehold.sock` is for the
//! box's owner: the kernel tells who connects, root and the daemon's own user
//! and group are let in. Both serve the one table in `router.rs`; nothing is
//! reachable that does not stand there. This is the only place that names axum
//! and askama.

pub mod about;
mod access;
mod answer;
pub mod api;
mod audit;
mod auth;
mod caller;
mod confirm;
mod contract;
mod downloads;
mod error;
mod forgery;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod handover;
mod hook_body;
mod hooks;
mod input;
mod jobs;
mod listen;
mod multipart;
mod page;
mod pages;
mod peer;
mod people;
mod replay;
mod replicas;
mod restores;
mod router;
mod scaling;
mod services;
mod standing;
mod terminal;
mod tokens;
mod unread;

#[cfg(test)]
mod sudo_tests;

pub use access::{Needs, Verdict, decide};
pub use caller::Caller;
pub use error::Failure;
pub use forgery::FormKey;
pub use handover::{Desk, Handovers, NoHandover};
pub use hook_body::Room as HookRoom;
pub use listen::{bind_edge, bind_local, serve_edge, serve_local};
pub use router::{Route, router, table};
pub use services::{App, Services, dashboard_url};
