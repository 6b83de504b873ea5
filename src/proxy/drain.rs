//! Drain: what retired targets answer ends by itself, or is cut and has a moment for its last words.
//!
//! Who retires them and what becomes of what runs there is decided elsewhere.
use std::sync::Arc;
use std::time::Duration;

use super::target::Target;

/// For what is cut to end with a whole word, a close frame or the end of its framing, before its app is told to stop: the
/// app's own end would come first otherwise.
const LAST_WORDS: Duration = Duration::from_millis(1_500);

/// Waits until what retired targets answer has ended, at most `limit`; then cuts the rest. Says how many that were.
pub async fn drain(targets: &[Arc<Target>], limit: Duration) -> u64 {
    if ended(targets, limit).await {
        return 0;
    }
    let cut = targets.iter().map(|t| t.in_flight()).sum();
    for target in targets {
        target.cut();
    }
    ended(targets, LAST_WORDS).await;
    cut
}

/// Waits until what retired targets answer has ended; false when it did not within `limit`.
pub async fn ended(targets: &[Arc<Target>], limit: Duration) -> bool {
    let all = async {
        for target in targets {
            target.drained().await;
        }
    };
    tokio::time::timeout(limit, all).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Address;
    use std::net::SocketAddr;
    use std::time::Instant;

    fn target() -> Arc<Target> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Target::new("replica:1", Address::Tcp(address))
    }

    const LIMIT: Duration = Duration::from_millis(100);
    const MOMENT: Duration = Duration::from_millis(300);
    /// More than any machine takes.
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn n2_what_is_cut_has_a_moment_for_its_last_words_before_its_app_is_stopped() {
        let (idle, busy) = (target(), target());
        let claim = busy.claim().unwrap();
        let signal = busy.cut_signal().clone();
        idle.retire();
        busy.retire();
        let begun = Instant::now();
        tokio::spawn(async move {
            signal.cancelled().await;
            tokio::time::sleep(MOMENT).await;
            drop(claim);
        });
        assert_eq!(drain(&[idle, busy], LIMIT).await, 1);
        assert!(begun.elapsed() >= LIMIT + MOMENT, "its close frame is out");
    }

    #[tokio::test]
    async fn n2_what_does_not_hear_that_it_is_cut_is_not_waited_for_long() {
        let busy = target();
        let _claim = busy.claim().unwrap();
        busy.retire();
        let begun = Instant::now();
        assert_eq!(drain(&[busy], LIMIT).await, 1);
        assert!(begun.elapsed() < LONG);
    }

    #[tokio::test]
    async fn n2_what_ends_in_time_is_not_cut() {
        let busy = target();
        let claim = busy.claim().unwrap();
        busy.retire();
        tokio::spawn(async move {
            tokio::time::sleep(MOMENT).await;
            drop(claim);
        });
        let both = [busy.clone(), target()];
        both[1].retire();
        assert_eq!(drain(&both, LONG).await, 0);
        assert!(!busy.cut_signal().is_cancelled());
    }
}
