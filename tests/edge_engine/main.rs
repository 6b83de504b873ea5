//! The edge before an app that runs in containers, deployed on a real engine: what its file and its domains ask of requests,
//! and what is seen of each replica.

#[path = "../support/mod.rs"]
mod support;

mod place;
mod policies;
mod replicas;
mod seen;
