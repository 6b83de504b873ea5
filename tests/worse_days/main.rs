//! Days that are worse than others (N7): no file descriptors, no space on the disk, no memory, a build that takes all it can.
//! Each with what was acknowledged before and meanwhile, and what is left of it afterwards. A module a kind of day.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::let_underscore_must_use
)]

#[path = "../support/mod.rs"]
mod support;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod build_memory;
mod builds;
mod descriptors;
mod full_disk;
mod ledger;
mod memory;
mod quiet_box;
mod served_box;

/// Who measures time has the machine without the other tests of this file.
static TURNS: RwLock<()> = RwLock::new(());

fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURNS.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    TURNS.write().unwrap_or_else(PoisonError::into_inner)
}
