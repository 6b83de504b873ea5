//! When each request is due: at a fixed rate from the start, whatever became of those before it. Pure.

use std::time::Duration;

/// A fixed number of requests a second.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub rate: u32,
}

impl Schedule {
    /// When the request with this number is due, from the start. No error adds up: it is reckoned anew each time.
    pub fn due(self, number: u64) -> Duration {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[test]
fn n1_a_request_is_due_by_its_number_alone() {
    let schedule = Schedule { rate: 300 };
    assert_eq!(schedule.due(0), Duration::ZERO);
    assert_eq!(schedule.due(300), Duration::from_secs(1));
    assert_eq!(schedule.due(300 * 86_400), Duration::from_secs(86_400));
}
