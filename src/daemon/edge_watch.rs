//! What the edge refused, told once a minute: a line in the log, an event, and what needs attention if it was an attack.
//!
//! The edge only counts. A box on the internet refuses a few strangers a minute all its life: those get one event an
//! hour, so that what happens on the box can still be read.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::base::clock::UnixMs;
use crate::base::shutdown::Tasks;
use crate::db::{Db, DbError};
use crate::events::{self, Level, NewEvent};
use crate::proxy::{EdgeHandle, Refusals};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// From so many in a minute on, an event does not wait for the hour: more than scanners that pass by bring.
const MANY: u64 = 100;
/// So many in a minute are an attack, or a program gone wild: 17 a second, of which none was an honest visitor's. A
/// scanner sends some tens, a browser that keeps trying one a second. Not counted is what honest ones bring too (401, 403,
/// 404, 421, 429).
const ATTACK: u64 = 1_000;

/// Looks once a minute until shutdown. The receiver holds the last minute's sentence while it tells of an attack.
pub fn start(edge: EdgeHandle, db: Db, tasks: &Tasks) -> watch::Receiver<Option<String>> {
    let (tell, told) = watch::channel(None);
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("edge-watch", async move {
        let mut summary = Summary::new(Instant::now());
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(MINUTE) => {}
            }
            let news = summary.look(Instant::now(), edge.stats().refusals);
            if let Some(line) = &news.line {
                tracing::info!("{line}");
            }
            if let Some(event) = news.event {
                record(&db, event).await;
            }
            tell.send_replace(news.attack);
        }
    });
    told
}

async fn record(db: &Db, event: NewEvent) {
    let written: Result<i64, DbError> = db
        .write(move |tx| events::record(tx, UnixMs::now(), &event))
        .await;
    if let Err(error) = written {
        tracing::warn!(%error, "an event about refused connections could not be recorded");
    }
}

/// What there is to tell at the end of a minute.
#[derive(Debug, Default)]
struct News {
    line: Option<String>,
    event: Option<NewEvent>,
    attack: Option<String>,
}

/// What was told already, and when.
struct Summary {
    in_lines: Refusals,
    in_events: Refusals,
    last_event: Instant,
}

impl Summary {
    fn new(now: Instant) -> Summary {
        Summary {
            in_lines: Refusals::default(),
            in_events: Refusals::default(),
            last_event: now,
        }
    }

    fn look(&mut self, now: Instant, counted: Refusals) -> News {
        let minute = counted.since(&self.in_lines);
        self.in_lines = counted;
        if minute.sum() == 0 && counted == self.in_events {
            return News::default();
        }
        let untold = counted.since(&self.in_events);
        let is_attack = minute.hostile() >= ATTACK;
        let lasted = now.saturating_duration_since(self.last_event);
        let event = (minute.sum() >= MANY || lasted >= HOUR).then(|| {
            self.in_events = counted;
            self.last_event = now;
            let (level, minutes) = match is_attack {
                true => (Level::Warning, 1),
                false => (Level::Info, lasted.as_secs().div_ceil(60).max(1)),
            };
            let numbers = untold
                .iter()
                .map(|(why, count)| (why.name().to_owned(), count.into()));
            NewEvent::new("edge.refused", level, "box", sentence(minutes, &untold))
                .with(serde_json::Value::Object(numbers.collect()))
        });
        News {
            line: (minute.sum() > 0).then(|| sentence(1, &minute)),
            event,
            attack: is_attack.then(|| sentence(1, &minute)),
        }
    }
}

/// "In the last minute the edge refused 1,204 connections and requests: 1,200 floods of frames, 4 slow readers."
fn sentence(minutes: u64, refusals: &Refusals) -> String {
    let mut reasons: Vec<_> = refusals.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let reasons: Vec<String> = reasons
        .into_iter()
        .map(|(why, count)| match (count, why.words()) {
            (1, (one, _)) => format!("1 {one}"),
            (count, (_, several)) => format!("{} {several}", grouped(count)),
        })
        .collect();
    let when = match minutes {
        1 => "minute".to_owned(),
        60 => "hour".to_owned(),
        minutes => format!("{} minutes", grouped(minutes)),
    };
    let what = match refusals.sum() {
        1 => "1 connection or request".to_owned(),
        sum => format!("{} connections and requests", grouped(sum)),
    };
    format!(
        "In the last {when} the edge refused {what}: {}.",
        reasons.join(", ")
    )
}

/// With a comma after each three digits: `1,204`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Refusal;

    /// The counters after these many of each came about.
    fn counted(counts: &[(Refusal, u64)]) -> Refusals {
        counts.iter().copied().collect()
    }

    #[test]
    fn e4_a_minute_of_refusals_is_one_sentence_with_the_most_first() {
        let refusals = counted(&[(Refusal::SlowReader, 4), (Refusal::Flood, 1_200)]);
        assert_eq!(
            sentence(1, &refusals),
            "In the last minute the edge refused 1,204 connections and requests: 1,200 floods of frames, 4 slow readers."
        );
        let one = counted(&[(Refusal::Abandoned, 1)]);
        assert_eq!(
            sentence(60, &one),
            "In the last hour the edge refused 1 connection or request: 1 connection of rapid resets."
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
    }

    #[test]
    fn e4_few_are_a_line_a_minute_and_an_event_an_hour_and_many_an_event_at_once() {
        let began = Instant::now();
        let at = |minute: u32| began + MINUTE * minute;
        let mut summary = Summary::new(began);
        let news = summary.look(at(1), Refusals::default());
        assert!(news.line.is_none() && news.event.is_none() && news.attack.is_none());
        let mut seen = 0;
        for minute in 2..=60 {
            seen += 3;
            let news = summary.look(at(minute), counted(&[(Refusal::UnknownName, seen)]));
            assert!(news.line.unwrap().contains("refused 3 connections"));
            assert_eq!(news.event.is_some(), minute == 60);
            assert_eq!(news.attack, None);
            if let Some(event) = news.event {
                assert!(
                    event
                        .message
                        .starts_with("In the last hour the edge refused 177 ")
                );
                assert_eq!(event.data, serde_json::json!({ "unknown_name": 177 }));
            }
        }
        let many = counted(&[(Refusal::UnknownName, seen), (Refusal::Flood, 100)]);
        let news = summary.look(at(61), many);
        assert_eq!(news.event.unwrap().level, Level::Info);
        let attack = counted(&[(Refusal::UnknownName, seen), (Refusal::Flood, 1_100)]);
        let news = summary.look(at(62), attack);
        assert_eq!(news.event.unwrap().level, Level::Warning);
        assert!(news.attack.is_some());
        // Broken links and old passwords are none, however many.
        let (mut at_minute, mut honest) = (62, attack);
        for refusal in [Refusal::NotServed, Refusal::RateLimited, Refusal::Denied] {
            at_minute += 1;
            honest = honest.iter().chain([(refusal, 5_000)]).collect();
            let news = summary.look(at(at_minute), honest);
            assert_eq!(news.event.unwrap().level, Level::Info);
            assert_eq!(news.attack, None);
        }
        let attack = honest;
        // It is over: nothing wants attention, and nothing is said of a minute without any.
        let news = summary.look(at(at_minute + 1), attack);
        assert!(news.line.is_none() && news.event.is_none() && news.attack.is_none());
    }
}
