//! Supervision against a real engine: made, healthy, killed, restarted, adopted, removed; and why a container does not
//! become healthy. With the feature `crash-points` also: killed at each of its points.

mod commands;
#[cfg(feature = "crash-points")]
mod crash;
mod deaths;
mod jobs;
mod objects;
mod pipes;
mod replicas;
mod rig;
#[cfg(feature = "crash-points")]
#[path = "../support/sweep.rs"]
mod sweep;
mod trouble;
