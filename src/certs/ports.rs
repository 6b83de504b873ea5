//! What this domain asks of others; implemented in `daemon`.

use std::future::Future;
use std::pin::Pin;

/// A boxed future, so that the trait can be used as an object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way from a stored challenge to port 80.
pub trait Publish: Send + Sync {
    /// Resolves once the edge's published snapshot answers `token`, which
    /// [`super::CertSet::challenges`] holds by then. An error says why it does not.
    fn challenge_live<'a>(&'a self, token: &'a str) -> Boxed<'a, Result<(), String>>;
}
