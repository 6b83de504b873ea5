//! Days that are worse than others (N7): no file descriptors, no space on the disk, no memory, a build that takes all it can.
//! Each with what was acknowledged before and meanwhile, and what is left of it afterwards. A module a kind of day.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::let_underscore_must_use
)]

#[path = "../support/mod.rs"]
mod support;

mod builds;
mod descriptors;
mod full_disk;
mod ledger;
mod memory;
mod quiet_box;
mod served_box;
