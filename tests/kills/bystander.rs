//! Somebody who keeps asking for the app. What was under way when the daemon died is cut; whatever is answered is the
//! app's own answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::edge::Edge;

pub struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Seen {
    pub answered: usize,
    /// By the clients' own words.
    pub cut: usize,
    /// Anything but the app's page, and how often.
    pub wrong: BTreeMap<String, usize>,
}

impl Bystander {
    /// Asks for `url` a few times a second; the app's pages begin with "page".
    pub fn of(edge: Edge, url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, url) = (Arc::clone(&stop), url.to_owned());
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !until.load(Ordering::Relaxed) {
                match edge.get(&url).send() {
                    Ok(answer) if answer.status == 200 && answer.text().starts_with("page ") => {
                        seen.answered += 1;
                    }
                    Ok(answer) => {
                        let text: String = answer.text().chars().take(300).collect();
                        let what = format!("{}: {text}", answer.status);
                        *seen.wrong.entry(what).or_default() += 1;
                    }
                    Err(_) => seen.cut += 1,
                }
                std::thread::sleep(Duration::from_millis(150));
            }
            seen
        });
        Self { stop, thread }
    }

    pub fn leaves(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
