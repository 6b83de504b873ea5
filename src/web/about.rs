//! What the web surface asks about the box as a whole; the daemon answers, which alone sees every part.

use std::future::Future;
use std::pin::Pin;

use crate::wire::doctor::Report;
use crate::wire::status::Status;

/// An answer to come.
pub type Coming<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The box as a whole.
pub trait About: Send + Sync {
    /// One look at everything. A part that cannot be read is a finding, never a failure.
    fn status(&self) -> Coming<'_, Status>;

    /// Everything that can be examined, each with its remedy; within seconds, whatever does not answer.
    fn doctor(&self) -> Coming<'_, Report>;
}
