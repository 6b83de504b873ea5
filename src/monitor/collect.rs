//! Every ten seconds: what the box does and what the edge answered, into the rollups; what each container uses, for
//! whoever looks.
//!
//! The edge's counters only grow; what is stored is the difference to the
//! reading before. A route that appears counts from zero, one whose counters
//! went back was made anew.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::base::clock::UnixMs;
use crate::base::said::Said;
use crate::base::shutdown::Shutdown;
use crate::host::{HostFigures, HostMeter};
use crate::proxy::Reading;

use super::containers::{Meter, Usages};
use super::latency::Latency;
use super::ports::{RouteReading, World};
use super::routes::Minute;
use super::series::{BoxSample, Series, TrafficSample};

/// Between samples.
const EVERY: Duration = Duration::from_secs(10);
/// Before the second sample of all, so that a page opened after the start has figures.
const FIRST: Duration = Duration::from_secs(1);
/// Samples between two cleanings.
const CLEAN: u32 = 60;

pub(super) struct Collector {
    pub(super) series: Series,
    pub(super) world: Arc<dyn World>,
    pub(super) data_dir: PathBuf,
    pub(super) now: watch::Sender<Option<HostFigures>>,
    pub(super) usages: watch::Sender<Arc<Usages>>,
    pub(super) minute: watch::Sender<Minute>,
    pub(super) counted: watch::Sender<Option<Arc<HashMap<String, Reading>>>>,
}

impl Collector {
    /// Runs until the daemon stops.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let mut meter = HostMeter::new(&self.data_dir);
        let mut containers = Meter::default();
        let mut before: HashMap<String, Reading> = HashMap::new();
        let (unwritten, unread) = (Said::new(Instant::now()), Said::new(Instant::now()));
        let mut round = 0u32;
        loop {
            let running = self.world.running();
            let sampled = tokio::task::spawn_blocking(move || {
                let sample = meter.sample();
                let usages = containers.look(running, Instant::now());
                (meter, containers, sample, usages)
            })
            .await;
            let figures = match sampled {
                Ok((returned, returned_containers, sample, usages)) => {
                    (meter, containers) = (returned, returned_containers);
                    self.usages.send_replace(Arc::new(usages));
                    self.figures(sample, &unread)
                }
                // What it kept between two samples is lost with it; the next round begins anew.
                Err(error) => {
                    tracing::error!(%error, "taking the box's figures panicked; this round has none");
                    meter = HostMeter::new(&self.data_dir);
                    containers = Meter::default();
                    None
                }
            };
            let readings = self.world.readings();
            self.minute
                .send_modify(|minute| minute.add(Instant::now(), &before, &readings));
            let traffic = differences(&mut before, readings);
            if let Err(error) = self.series.add(UnixMs::now(), figures, traffic).await
                && unwritten.is_due(Instant::now())
            {
                tracing::warn!(%error, "figures could not be written: graphs have a gap, all else goes on. Said once a minute");
            }
            if round.is_multiple_of(CLEAN)
                && let Err(error) = self.series.prune(UnixMs::now()).await
            {
                tracing::warn!(%error, "old figures could not be removed");
            }
            round = round.wrapping_add(1);
            tokio::select! {
                () = shutdown.begun() => {
                    // Whoever counts on from there counts nothing twice.
                    self.counted.send_replace(Some(Arc::new(before)));
                    return;
                }
                () = tokio::time::sleep(if round == 1 { FIRST } else { EVERY }) => {}
            }
        }
    }
}

impl Collector {
    fn figures(&self, sample: std::io::Result<HostFigures>, unread: &Said) -> Option<BoxSample> {
        match sample {
            Ok(figures) => {
                let sample = box_sample(&figures);
                self.now.send_replace(Some(figures));
                sample
            }
            Err(error) => {
                if unread.is_due(Instant::now()) {
                    tracing::warn!(%error, "the box's figures cannot be read. Said once a minute");
                }
                None
            }
        }
    }
}

/// `None` in the first round: a share needs two readings.
fn box_sample(figures: &HostFigures) -> Option<BoxSample> {
    Some(BoxSample {
        cpu: figures.cpu?,
        memory_used: figures.memory.used(),
        memory_total: figures.memory.total,
        swap_used: figures
            .memory
            .swap_total
            .saturating_sub(figures.memory.swap_free),
        disk_used: figures.disk_used(),
        disk_total: figures.disk_total,
        load: figures.load[0],
        received: figures.network.received,
        sent: figures.network.sent,
    })
}

/// What was answered since the readings in `before`, by subject; `before` becomes `readings`.
fn differences(
    before: &mut HashMap<String, Reading>,
    readings: Vec<RouteReading>,
) -> Vec<TrafficSample> {
    let mut samples: HashMap<String, TrafficSample> = HashMap::new();
    let mut after = HashMap::with_capacity(readings.len());
    for RouteReading {
        key,
        subject,
        reading,
    } in readings
    {
        let nothing = Reading::default();
        let earlier = before
            .get(&key)
            .filter(|earlier| earlier.requests <= reading.requests)
            .unwrap_or(&nothing);
        if reading.requests > earlier.requests {
            let sample = samples
                .entry(subject.clone())
                .or_insert_with(|| TrafficSample {
                    subject,
                    ..TrafficSample::default()
                });
            let added = |now: u64, then: u64| now.saturating_sub(then);
            sample.requests += added(reading.requests, earlier.requests);
            sample.client_errors += added(reading.classes[3], earlier.classes[3]);
            sample.server_errors += added(reading.classes[4], earlier.classes[4]);
            sample.failures += added(reading.failures, earlier.failures);
            sample.received += added(reading.bytes_in, earlier.bytes_in);
            sample.sent += added(reading.bytes_out, earlier.bytes_out);
            sample
                .latency
                .merge(&Latency::from(&reading.latency.since(&earlier.latency)));
        }
        after.insert(key, reading);
    }
    *before = after;
    samples.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(key: &str, subject: &str, requests: u64, server_errors: u64) -> RouteReading {
        RouteReading {
            key: key.into(),
            subject: subject.into(),
            reading: Reading {
                requests,
                classes: [0, requests - server_errors, 0, 0, server_errors],
                ..Reading::default()
            },
        }
    }

    #[test]
    fn f7_counters_become_differences_by_app() {
        let mut before = HashMap::new();
        let first = differences(
            &mut before,
            vec![reading("r1", "app:1", 10, 1), reading("r2", "app:1", 5, 0)],
        );
        assert_eq!(
            (first.len(), first[0].requests, first[0].server_errors),
            (1, 15, 1)
        );
        assert!(
            differences(
                &mut before,
                vec![reading("r1", "app:1", 10, 1), reading("r2", "app:1", 5, 0)]
            )
            .is_empty()
        );
        let moved = differences(
            &mut before,
            vec![reading("r1", "app:1", 12, 1), reading("r3", "app:2", 3, 3)],
        );
        let of = |subject: &str| {
            moved
                .iter()
                .find(|s| s.subject == subject)
                .unwrap()
                .requests
        };
        assert_eq!((of("app:1"), of("app:2")), (2, 3));
        // The route was made anew: its counters begin at zero.
        let anew = differences(&mut before, vec![reading("r1", "app:1", 4, 0)]);
        assert_eq!(anew[0].requests, 4);
    }
}
