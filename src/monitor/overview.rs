//! What pages and the API ask: the whole status, histories, checks with their strips.

use crate::base::clock::UnixMs;
use crate::host::HostFigures;
use crate::wire::checks::{Bar, Check, CheckState, Incident};
use crate::wire::metrics::{AppHistory, BoxHistory};
use crate::wire::overview::{Machine, Overview};

use super::attention::{Picture, attention};
use super::containers::of_owner;
use super::forecast::days_until_full;
use super::series::{BoxSlot, CheckSlot, TrafficSlot};
use super::step::{Step, Window};
use super::store::{self, CheckRow, IncidentRow};
use super::{Monitor, MonitorError};
use crate::db::Slice;

/// Bars of a check's day.
const BARS: usize = 48;

impl Monitor {
    /// How everything is doing.
    ///
    /// # Errors
    /// When a database cannot be read, or the rest of the box does not answer.
    pub async fn overview(&self, now: UnixMs) -> Result<Overview, MonitorError> {
        let (facts, checks, machine) = tokio::join!(
            self.world.facts(),
            self.state.read(store::checks),
            self.machine(now),
        );
        let mut facts = facts.map_err(MonitorError::World)?;
        let (checks, machine) = (checks?, machine?);
        let minute = Window::last(Step::Moment, 7, now);
        let recent = Window::last(Step::Moment, 31, now);
        let day = Window::day(now);
        let subjects: Vec<String> = facts.apps.iter().map(|a| format!("app:{}", a.id)).collect();
        let ids: Vec<i64> = checks.iter().map(|c| c.id).collect();
        let (traffic, days) = tokio::join!(
            self.series.of_traffic(subjects.clone(), recent),
            self.series.sums_of_checks(ids, day),
        );
        let traffic = self.kept(traffic, || vec![vec![None; recent.slots]; subjects.len()])?;
        let days = self.kept(days, || vec![CheckSlot::default(); checks.len()])?;
        for (app, slots) in facts.apps.iter_mut().zip(&traffic) {
            let of_minute = &slots[slots.len() - minute.slots..];
            app.rate = rate(of_minute, Step::Moment);
            let merged = merge(slots);
            app.p95_ms = merged.latency.quantile_ms(0.95);
            app.error_share = merged.server_error_share();
        }
        let usages = self.usages();
        for (app, subject) in facts.apps.iter_mut().zip(&subjects) {
            let of_app = checks
                .iter()
                .zip(&days)
                .filter(|(c, _)| c.subject == *subject);
            let slots: Vec<CheckSlot> = of_app.map(|(_, day)| *day).collect();
            app.up_share = CheckSlot::share(&slots);
            app.usage = of_owner(&usages, subject);
        }
        let damage = self.damage();
        let attention = attention(&Picture {
            now,
            facts: &facts,
            checks: &checks,
            machine: machine.as_ref(),
            damage: damage.as_deref(),
        });
        facts.certificates.sort_by_key(|c| c.expires_ms);
        Ok(Overview {
            version: env!("CARGO_PKG_VERSION").into(),
            attention,
            machine,
            engine: facts.engine,
            apps: facts.apps,
            databases: facts.databases,
            certificates: facts.certificates,
            trust: facts.trust,
            dashboard: facts.dashboard,
        })
    }

    /// The machine now; `None` until it was first measured.
    async fn machine(&self, now: UnixMs) -> Result<Option<Machine>, MonitorError> {
        let Some(figures) = self.figures() else {
            return Ok(None);
        };
        let window = Window::last(Step::Hour, 72, now);
        let slots = self.series.of_box(window).await;
        let slots = self.kept(slots, || vec![None; window.slots])?;
        Ok(Some(machine(
            &figures,
            self.host(),
            days_until_full(&slots, window),
        )))
    }

    /// The box over `window`.
    ///
    /// # Errors
    /// When metrics.db cannot be read.
    pub async fn box_history(&self, window: Window) -> Result<BoxHistory, MonitorError> {
        let slots = self.series.of_box(window).await;
        let slots = self.kept(slots, || vec![None; window.slots])?;
        fn each<T>(slots: &[Option<BoxSlot>], of: impl Fn(&BoxSlot) -> T) -> Vec<Option<T>> {
            slots.iter().map(|s| s.as_ref().map(&of)).collect()
        }
        Ok(BoxHistory {
            from_ms: window.from,
            step_s: window.step.seconds(),
            cpu: each(&slots, |s| s.cpu),
            memory_used: each(&slots, |s| s.memory_used),
            swap_used: each(&slots, |s| s.swap_max),
            disk_used: each(&slots, |s| s.disk_used),
            load: each(&slots, |s| s.load),
            received: each(&slots, |s| s.received),
            sent: each(&slots, |s| s.sent),
        })
    }

    /// What the apps with these ids answered over `window`, in their order.
    ///
    /// # Errors
    /// When metrics.db cannot be read.
    pub async fn app_histories(
        &self,
        apps: &[i64],
        window: Window,
    ) -> Result<Vec<AppHistory>, MonitorError> {
        let subjects = apps.iter().map(|id| format!("app:{id}")).collect();
        let all = self.series.of_traffic(subjects, window).await;
        let all = self.kept(all, || vec![vec![None; window.slots]; apps.len()])?;
        Ok(all.iter().map(|slots| app_history(slots, window)).collect())
    }

    /// Every check with its last day, and the share of its last month.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub async fn checks(&self, now: UnixMs) -> Result<Vec<Check>, MonitorError> {
        self.checks_over(now, Some(Window::last(Step::Hour, 30 * 24, now)))
            .await
    }

    /// Every check with its last day alone: a month of fifty checks is much to add up for a page
    /// that does not show it.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub async fn checks_of_day(&self, now: UnixMs) -> Result<Vec<Check>, MonitorError> {
        self.checks_over(now, None).await
    }

    async fn checks_over(
        &self,
        now: UnixMs,
        month: Option<Window>,
    ) -> Result<Vec<Check>, MonitorError> {
        let rows = self.state.read(store::checks).await?;
        let ids: Vec<i64> = rows.iter().map(|c| c.id).collect();
        let day = Window::day(now);
        let months = async {
            match month {
                Some(month) => self.series.sums_of_checks(ids.clone(), month).await,
                None => Ok(Vec::new()),
            }
        };
        let (days, months, last) = tokio::join!(
            self.series.of_checks(ids.clone(), day),
            months,
            self.series.last_checks(),
        );
        let days = self.kept(days, || {
            vec![vec![CheckSlot::default(); day.slots]; rows.len()]
        })?;
        let months = self.kept(months, Vec::new)?;
        let last = self.kept(last, Vec::new)?;
        let mut checks = Vec::with_capacity(rows.len());
        for (at, (row, slots)) in rows.into_iter().zip(days).enumerate() {
            let last = last
                .iter()
                .find(|(id, _)| *id == row.id)
                .map(|(_, last)| last);
            let per_bar = day.slots / BARS;
            let bars = CheckSlot::fold(&slots, BARS);
            checks.push(Check {
                id: row.id,
                state: state_of(&row),
                why: row.open.as_ref().map(|i| i.why.clone()),
                name: row.name,
                subject: row.subject,
                url: row.url,
                by_hand: row.by_hand,
                asked_ms: last.map(|l| l.at),
                millis: last.filter(|l| l.up).map(|l| l.millis),
                day: bars
                    .iter()
                    .enumerate()
                    .map(|(at, bar)| Bar {
                        from_ms: day.start(at * per_bar),
                        up: bar.up,
                        down: bar.down,
                    })
                    .collect(),
                day_share: CheckSlot::share(&slots),
                month_share: months.get(at).and_then(|sum| CheckSlot::share(&[*sum])),
            });
        }
        Ok(checks)
    }

    /// A piece of the incidents, the newest first; the slice's state is `open` or `closed`.
    ///
    /// # Errors
    /// When state.db cannot be read.
    pub async fn incident_rows(&self, slice: Slice) -> Result<Vec<Incident>, MonitorError> {
        let rows = self
            .state
            .read(move |c| store::incident_slice(c, &slice))
            .await?;
        Ok(rows.into_iter().map(told).collect())
    }
}

fn told((row, name, url): (IncidentRow, String, String)) -> Incident {
    Incident {
        id: row.id,
        check: row.check,
        name,
        url,
        opened_ms: row.opened,
        closed_ms: row.closed,
        stage: row.stage,
        why: row.why,
    }
}

fn state_of(row: &CheckRow) -> CheckState {
    match row {
        CheckRow { active: false, .. } => CheckState::Paused,
        CheckRow { open: Some(_), .. } => CheckState::Down,
        CheckRow { proven: true, .. } => CheckState::Up,
        _ => CheckState::Pending,
    }
}

fn machine(figures: &HostFigures, facts: &crate::host::HostFacts, full: Option<f64>) -> Machine {
    let memory = figures.memory;
    Machine {
        name: facts.name.clone(),
        system: facts.system.clone(),
        kernel: facts.kernel.clone(),
        cores: figures.cores,
        cpu: figures.cpu,
        load: figures.load,
        memory_used: memory.used(),
        memory_total: memory.total,
        swap_used: memory.swap_total.saturating_sub(memory.swap_free),
        swap_total: memory.swap_total,
        disk_used: figures.disk_used(),
        disk_total: figures.disk_total,
        disk_full_in_days: full,
        uptime_s: figures.uptime.as_secs(),
    }
}

fn merge(slots: &[Option<TrafficSlot>]) -> TrafficSlot {
    let mut sum = TrafficSlot::default();
    for slot in slots.iter().flatten() {
        sum.merge(slot);
    }
    sum
}

/// Requests per second over the slots that were measured; the newest is left
/// out where there are others, because it is not over.
#[allow(clippy::cast_precision_loss)]
fn rate(slots: &[Option<TrafficSlot>], step: Step) -> Option<f64> {
    let over = match slots {
        [before @ .., _] if before.iter().any(Option::is_some) => before,
        all => all,
    };
    let measured: Vec<&TrafficSlot> = over.iter().flatten().collect();
    let requests: u64 = measured.iter().map(|s| s.requests).sum();
    let seconds = measured.len() as f64 * step.length().as_secs_f64();
    (seconds > 0.0).then(|| requests as f64 / seconds)
}

#[allow(clippy::cast_precision_loss)]
fn app_history(slots: &[Option<TrafficSlot>], window: Window) -> AppHistory {
    let seconds = window.step.length().as_secs_f64();
    let whole = merge(slots);
    let each = |of: &dyn Fn(&TrafficSlot) -> Option<f64>| {
        slots
            .iter()
            .map(|s| s.as_ref().and_then(of))
            .collect::<Vec<_>>()
    };
    AppHistory {
        from_ms: window.from,
        step_s: window.step.seconds(),
        rate: each(&|s| Some(s.requests as f64 / seconds)),
        p95_ms: each(&|s| s.latency.quantile_ms(0.95)),
        error_share: each(&TrafficSlot::server_error_share),
        requests: whole.requests,
        server_errors: whole.server_errors,
        p95_ms_whole: whole.latency.quantile_ms(0.95),
    }
}
