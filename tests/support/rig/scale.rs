//! How large a run is. `tests/run` takes the short form; with `FREEHOLD_SOAK=1` (`tests/soak`) the same code runs large.

/// The numbers of a run.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Scale {
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
}

impl Scale {
    pub fn of_env() -> Self {
        match std::env::var_os("FREEHOLD_SOAK") {
            Some(_) => Self {
                rate: 500,
                deploys: 50,
                rollbacks: 20,
                scales: 20,
                reloads: 10,
                streams: 24,
                kills: 10,
            },
            None => Self {
                rate: 60,
                deploys: 2,
                rollbacks: 1,
                scales: 2,
                reloads: 2,
                streams: 6,
                kills: 1,
            },
        }
    }
}
