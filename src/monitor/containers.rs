//! What each of our containers uses now: memory as it stands, processor time as the difference of two readings.

use std::collections::HashMap;
use std::time::Instant;

use crate::host::{ContainerFigures, ContainerMeter};
use crate::wire::overview::Usage;

use super::ports::Running;

/// By the engine's id of the container.
pub type Usages = HashMap<String, ContainerUsage>;

/// What a container uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerUsage {
    /// Whose it is: `app:7`.
    pub owner: String,
    /// What it uses.
    pub usage: Usage,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    cpu_micros: u64,
}

/// Reads, and remembers the reading before.
#[derive(Default)]
pub(super) struct Meter {
    meter: ContainerMeter,
    before: HashMap<String, Seen>,
}

impl Meter {
    /// Reads files: not for an async worker.
    pub(super) fn look(&mut self, running: Vec<Running>, now: Instant) -> Usages {
        let read: Vec<(Running, ContainerFigures)> = running
            .into_iter()
            .filter_map(|one| Some((one.clone(), self.meter.read(&one.id)?)))
            .collect();
        self.take(read, now)
    }

    fn take(&mut self, read: Vec<(Running, ContainerFigures)>, now: Instant) -> Usages {
        let mut after = HashMap::with_capacity(read.len());
        let mut usages = Usages::with_capacity(read.len());
        for (Running { id, owner }, figures) in read {
            let seen = Seen {
                at: now,
                cpu_micros: figures.cpu_micros,
            };
            let usage = Usage {
                cpu: self.before.get(&id).and_then(|before| cores(*before, seen)),
                memory: figures.memory,
                memory_limit: figures.memory_limit,
            };
            after.insert(id.clone(), seen);
            usages.insert(id, ContainerUsage { owner, usage });
        }
        self.before = after;
        usages
    }
}

/// Cores in use between two readings; `None` when they are of two lives, or of one moment.
fn cores(before: Seen, now: Seen) -> Option<f64> {
    let micros = now.cpu_micros.checked_sub(before.cpu_micros)?;
    let time = now.at.saturating_duration_since(before.at);
    #[allow(clippy::cast_precision_loss)]
    let share = micros as f64 / time.as_micros() as f64;
    share.is_finite().then_some(share)
}

/// What all containers of `owner` use together; `None` without any.
pub fn of_owner(usages: &Usages, owner: &str) -> Option<Usage> {
    usages
        .values()
        .filter(|one| one.owner == owner)
        .map(|one| one.usage)
        .reduce(|sum, one| Usage {
            cpu: match (sum.cpu, one.cpu) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            },
            memory: sum.memory + one.memory,
            memory_limit: sum.memory_limit.zip(one.memory_limit).map(|(a, b)| a + b),
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reading(id: &str, cpu_micros: u64, memory: u64) -> (Running, ContainerFigures) {
        let running = Running {
            id: id.into(),
            owner: "app:1".into(),
        };
        let figures = ContainerFigures {
            memory,
            memory_limit: Some(100),
            cpu_micros,
            oom_kills: 0,
        };
        (running, figures)
    }

    #[test]
    fn f7_a_containers_processor_time_is_the_difference_of_two_readings() {
        let mut meter = Meter::default();
        let begun = Instant::now();
        let first = meter.take(vec![reading("a", 1_000_000, 10)], begun);
        assert_eq!((first["a"].usage.cpu, first["a"].usage.memory), (None, 10));
        let later = begun + Duration::from_secs(10);
        let second = meter.take(
            vec![reading("a", 6_000_000, 20), reading("b", 5, 30)],
            later,
        );
        assert_eq!(second["a"].usage.cpu, Some(0.5));
        assert_eq!(second["b"].usage.cpu, None);
        let sum = of_owner(&second, "app:1").unwrap();
        assert_eq!((sum.cpu, sum.memory), (Some(0.5), 50));
        assert_eq!(sum.memory_limit, Some(200));
        assert_eq!(of_owner(&second, "app:2"), None);
        // It was started again: its count began anew.
        let third = meter.take(vec![reading("a", 7, 5)], later + Duration::from_secs(10));
        assert_eq!(third["a"].usage.cpu, None);
        assert!(!third.contains_key("b"));
    }
}
