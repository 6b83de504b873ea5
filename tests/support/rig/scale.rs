//! How large a run is. `tests/run` takes the short form; with `FREEHOLD_SOAK=1` (`tests/soak`) the same code runs large.

/// Requests a second of the short form, by which those that stand for a time are counted.
const SHORT_RATE: u32 = 60;

/// The numbers of a run.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Scale {
    /// Whether this is the large form.
    pub soak: bool,
    /// Requests a second.
    pub rate: u32,
    pub deploys: u32,
    pub rollbacks: u32,
    pub scales: u32,
    pub reloads: u32,
    /// Streams that are kept open all the time.
    pub streams: usize,
    /// Replicas killed in each way.
    pub kills: u32,
    /// How late the generator may be, in ms, before a run says nothing: much where the machine does other things too.
    pub late_most_ms: u64,
}

impl Scale {
    pub fn of_env() -> Self {
        match std::env::var_os("FREEHOLD_SOAK") {
            Some(_) => Self {
                soak: true,
                rate: 500,
                deploys: 50,
                rollbacks: 20,
                scales: 20,
                reloads: 10,
                streams: 24,
                kills: 10,
                late_most_ms: 250,
            },
            None => Self {
                soak: false,
                rate: SHORT_RATE,
                deploys: 2,
                rollbacks: 1,
                scales: 2,
                reloads: 2,
                streams: 6,
                kills: 1,
                late_most_ms: 10_000,
            },
        }
    }

    /// What costs too much time for the short form.
    pub fn only_large(self, many: u32) -> u32 {
        if self.soak { many } else { 0 }
    }

    /// As many requests as come in the time that `many` take in the short form: what stands for a time lasts as long in
    /// either.
    pub fn requests(self, many: usize) -> usize {
        let of = |rate: u32| usize::try_from(rate).unwrap();
        many.max(many * of(self.rate) / of(SHORT_RATE))
    }
}

#[test]
fn n1_what_stands_for_a_time_lasts_as_long_at_each_rate() {
    let requests = |rate, many| {
        let scale = Scale {
            rate,
            ..Scale::of_env()
        };
        scale.requests(many)
    };
    assert_eq!(requests(SHORT_RATE, 100), 100);
    assert_eq!(requests(600, 100), 1_000);
    // Never fewer than asked for.
    assert_eq!(requests(30, 100), 100);
}
