//! Policies: what a route asks of its requests and does to its answers, compiled from the settings.

/// The policies of one route.
#[derive(Debug, Default)]
pub struct Policies {}
