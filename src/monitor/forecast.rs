//! When the disk is full if it goes on as it did: a straight line through the last days.

use super::series::BoxSlot;
use super::step::Window;

/// Slots with figures without which nothing is foretold.
const ENOUGH: usize = 24;

/// Days until the disk is full; `None` while it does not grow, or too little is known.
#[allow(clippy::cast_precision_loss)]
pub fn days_until_full(slots: &[Option<BoxSlot>], window: Window) -> Option<f64> {
    let step = window.step.length().as_secs_f64() / 86_400.0;
    let points: Vec<(f64, f64)> = slots
        .iter()
        .enumerate()
        .filter_map(|(at, slot)| Some((at as f64 * step, slot.as_ref()?.disk_used as f64)))
        .collect();
    let last = slots.iter().flatten().last()?;
    if points.len() < ENOUGH {
        return None;
    }
    let count = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p.0 / count, y + p.1 / count));
    let (mut both, mut alone) = (0.0, 0.0);
    for (at, used) in points {
        both += (at - x) * (used - y);
        alone += (at - x) * (at - x);
    }
    let a_day = if alone > 0.0 { both / alone } else { 0.0 };
    let free = last.disk_total.saturating_sub(last.disk_used) as f64;
    (a_day > 0.0).then(|| free / a_day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMs;
    use crate::monitor::step::Step;

    fn slot(disk_used: u64) -> Option<BoxSlot> {
        Some(BoxSlot {
            cpu: 0.0,
            cpu_max: 0.0,
            memory_used: 0,
            memory_max: 0,
            memory_total: 0,
            swap_max: 0,
            disk_used,
            disk_total: 1_000,
            load: 0.0,
            received: 0,
            sent: 0,
        })
    }

    #[test]
    fn f7_a_steady_rise_is_foretold() {
        let window = Window::last(Step::Hour, 72, UnixMs(1_800_000_000_000));
        // Ten units an hour; the newest is 720, 280 are free.
        let rising: Vec<_> = (1..=72).map(|n| slot(n * 10)).collect();
        let days = days_until_full(&rising, window).unwrap();
        assert!((days - 28.0 / 24.0).abs() < 0.01, "{days}");
        let steady: Vec<_> = (0..72).map(|_| slot(500)).collect();
        assert_eq!(days_until_full(&steady, window), None);
        assert_eq!(days_until_full(&rising[..10], window), None);
    }
}
