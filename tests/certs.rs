//! Certificates against a real ACME server (pebble), the box's own CA and
//! files: issued, resumed after kill -9, renewed while served, refused with a
//! sentence. Needs root, for port 80 of a loopback address.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::let_underscore_must_use
)]

#[path = "certs/acme.rs"]
mod acme;
#[cfg(feature = "crash-points")]
#[path = "certs/crash.rs"]
mod crash;
#[cfg(feature = "crash-points")]
#[path = "certs/edge.rs"]
mod edge;
#[path = "certs/own.rs"]
mod own;
#[path = "certs/rig.rs"]
mod rig;
mod support;
