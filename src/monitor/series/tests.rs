//! Rollups: what goes in comes out, bounded, and fast with a year of it.

use std::time::{Duration, Instant};

use super::*;
use crate::db::Kind;
use crate::monitor::step::Step;
use crate::proxy::Meter;

fn open() -> (tempfile::TempDir, Series) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("metrics.db"), Kind::Metrics).unwrap();
    (folder, Series::new(db))
}

fn traffic(subject: &str, requests: u64, server_errors: u64) -> TrafficSample {
    TrafficSample {
        subject: subject.into(),
        requests,
        server_errors,
        latency: Latency::from_bytes(&[10, u8::try_from(requests.min(100)).unwrap()]),
        ..TrafficSample::default()
    }
}

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn after(seconds: u64) -> UnixMs {
    NOW.plus(Duration::from_secs(seconds))
}

#[tokio::test]
async fn f7_samples_become_slots_of_every_step() {
    let (_folder, series) = open();
    for (second, cpu) in [(0, 0.2), (10, 0.4), (20, 0.9)] {
        let sample = BoxSample {
            cpu,
            memory_used: 100,
            memory_total: 400,
            disk_used: second,
            ..BoxSample::default()
        };
        series
            .add(after(second), Some(sample), vec![traffic("app:1", 10, 1)])
            .await
            .unwrap();
    }
    let now = after(20);
    let minute = series
        .of_box(Window::last(Step::Minute, 3, now))
        .await
        .unwrap();
    assert_eq!(minute[0], None, "nothing was measured before");
    let slot = minute[2].clone().unwrap();
    assert!((slot.cpu - 0.5).abs() < 1e-9 && (slot.cpu_max - 0.9).abs() < 1e-9);
    assert_eq!((slot.memory_used, slot.disk_used), (100, 20));
    let moments = series
        .of_box(Window::last(Step::Moment, 3, now))
        .await
        .unwrap();
    assert!(moments.iter().all(Option::is_some));

    let both = series
        .of_traffic(
            vec!["app:1".into(), "app:2".into()],
            Window::last(Step::Minute, 3, now),
        )
        .await
        .unwrap();
    let slot = both[0][2].clone().unwrap();
    assert_eq!(
        (slot.requests, slot.server_errors, slot.latency.total()),
        (30, 3, 30)
    );
    assert_eq!(slot.server_error_share(), Some(0.1));
    assert_eq!(
        both[1][2],
        Some(TrafficSlot::default()),
        "measured, and nobody asked"
    );
    assert_eq!(both[1][0], None, "not measured");
}

#[tokio::test]
async fn f7_checks_keep_their_history_and_their_last_word() {
    let (_folder, series) = open();
    let up = |millis| CheckSample {
        check: 4,
        failed: None,
        millis,
    };
    series.add_check(after(0), up(20)).await.unwrap();
    series.add_check(after(30), up(40)).await.unwrap();
    let down = CheckSample {
        check: 4,
        failed: Some(("tls", "expired".into())),
        millis: 3,
    };
    series.add_check(after(900), down).await.unwrap();
    let window = Window::last(Step::Quarter, 4, after(900));
    let slots = series.of_checks(vec![4], window).await.unwrap().remove(0);
    assert_eq!(
        slots[2],
        CheckSlot {
            up: 2,
            down: 0,
            millis_sum: 60,
            millis_max: 40
        }
    );
    assert_eq!(slots[3].down, 1);
    assert_eq!(CheckSlot::share(&slots), Some(2.0 / 3.0));
    assert_eq!(CheckSlot::fold(&slots, 2)[1].up, 2);
    let (check, last) = series.last_checks().await.unwrap().remove(0);
    assert_eq!(
        (check, last.up, last.stage.as_deref()),
        (4, false, Some("tls"))
    );
    series.forget_check(4).await.unwrap();
    assert!(series.last_checks().await.unwrap().is_empty());
}

#[tokio::test]
async fn f7_history_is_bounded() {
    let (_folder, series) = open();
    let year = Duration::from_secs(400 * 86_400);
    for back in [
        Duration::ZERO,
        Duration::from_secs(3 * 3600),
        Duration::from_secs(40 * 86_400),
        year * 2,
    ] {
        let sample = BoxSample::default();
        series
            .add(NOW.minus(back), Some(sample), vec![traffic("app:1", 1, 0)])
            .await
            .unwrap();
    }
    // Moment 3, minute 2, quarter 1, hour 1 are past their time, in two tables.
    assert_eq!(series.prune(NOW).await.unwrap(), 14);
    assert_eq!(series.prune(NOW).await.unwrap(), 0);
}

/// A year of one box with ten apps and ten checks, as the collectors would have left it.
#[tokio::test]
async fn f7_the_overviews_series_are_quick_with_a_year_of_history() {
    let (_folder, series) = open();
    series
        .db
        .write(|tx| {
            // A busy app's slot has some forty buckets.
            let latency: Vec<u8> = (0..40).flat_map(|_| [90, 9]).collect();
            for step in Step::ALL {
                let slots = step.kept().as_secs() / step.length().as_secs();
                let last = step.slot(NOW).0;
                let filled = |table: &str, columns: &str, values: &str, wide: &str| {
                    format!("WITH RECURSIVE t(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM t WHERE n < {slots})
                        INSERT INTO {table} (step_s, at_ms, {columns}) SELECT {}, {last} - n * {}, {values} FROM t {wide}",
                        step.seconds(), step.seconds() * 1000)
                };
                let ten = ", (WITH RECURSIVE a(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM a WHERE i < 10) SELECT i FROM a)";
                tx.execute(&filled("box_rollups", "samples, cpu_sum, cpu_max, memory_sum, memory_max, memory_total, swap_max, disk_used, disk_total, load_sum, received, sent",
                    "1, 0.5, 0.5, 1, 1, 2, 0, 1, 2, 0.1, 5, 5", ""), []).map_err(DbError::from)?;
                tx.execute(&filled("traffic_rollups", "subject, requests, client_errors, server_errors, failures, received, sent, latency",
                    "'app:' || i, 9, 1, 1, 0, 5, 5, ?1", ten), [&latency]).map_err(DbError::from)?;
                if step != Step::Moment {
                    tx.execute(&filled("check_rollups", "check_id, up, down, millis_sum, millis_max", "i, 30, 0, 900, 60", ten), []).map_err(DbError::from)?;
                }
            }
            Ok::<_, DbError>(())
        })
        .await
        .unwrap();
    let subjects: Vec<String> = (1..=10).map(|i| format!("app:{i}")).collect();
    let (mut on_cpu, mut wall) = series
        .db
        .read(move |c| {
            let day = Window::day(NOW);
            let recent = Window::last(Step::Moment, 31, NOW);
            let (mut on_cpu, mut wall) = (Vec::new(), Vec::new());
            for _ in 0..200 {
                let (begun, used) = (Instant::now(), used_by_this_thread());
                let measured: Vec<bool> = store::box_slots(c, day)?
                    .iter()
                    .map(Option::is_some)
                    .collect();
                for subject in &subjects {
                    let slots = store::traffic_slots(c, subject, day, &measured)?;
                    assert!(slots.iter().all(Option::is_some));
                    store::traffic_slots(c, subject, recent, &measured)?;
                }
                for check in 1..=10 {
                    assert_eq!(store::check_slots(c, check, day)?.len(), 96);
                }
                on_cpu.push(used_by_this_thread() - used);
                wall.push(begun.elapsed());
            }
            Ok::<_, DbError>((on_cpu, wall))
        })
        .await
        .unwrap();
    on_cpu.sort();
    wall.sort();
    println!(
        "the overview's series: p50 {:?}, p99 {:?}; of the processor p99 {:?}",
        wall[100], wall[198], on_cpu[198]
    );
    // Processor time, because other tests run beside this one; a scan of the year takes far longer.
    assert!(
        on_cpu[198] < Duration::from_millis(50),
        "p99 {:?}",
        on_cpu[198]
    );
}

/// Processor time of this thread, by the scheduler's own count.
fn used_by_this_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn f7_the_edges_histogram_is_taken_over() {
    assert_eq!(
        Latency::from(&Meter::new().read().latency),
        Latency::default()
    );
}
