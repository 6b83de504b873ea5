//! From what should be routed and what lives to the edge's snapshot, purely.
//!
//! The one bridge between the control plane and the proxy: its input types are
//! its own and are filled by the daemon. A target that stays keeps its identity,
//! so its requests in flight and figures go on; a target that is gone is handed
//! back to be retired after the new snapshot is published.

mod build;
mod input;

pub use build::{Built, build};
pub use input::{Answer, Input, Replica, Route};
