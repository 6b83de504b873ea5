//! Requests at apps that speak HTTP/1.1: each has a connection of its own there, and with it a descriptor and a port.
//!
//! Clients over HTTP/1.1 have one a connection, which are counted as they come. One connection of HTTP/2 brings 128: so a
//! source has no more of them than of streams to apps that speak `h2c`, and when half of all that may be are at apps, none
//! of such connections has more than a few. The bound of all is that of connections, for which there are descriptors.
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use super::client::Client;
use super::error::EdgeError;
use super::sources::Source;
use super::upstream::h2c;
use super::worker::Worker;

/// Requests of a connection that are nobody's business: more than a page has under way for long.
const OWN: u32 = 8;
/// What a connection may have while there is a crowd.
const FEW: u32 = 4;

/// Where few connections may be, a page of many pictures is no crowd all the same.
const LEAST: u32 = 1_024;

/// How many of a worker there are.
#[derive(Default)]
pub(super) struct AtApps {
    all: Cell<u32>,
    /// Of connections that have more than their own.
    of_sources: RefCell<HashMap<Source, u32>>,
}

/// One of them, until dropped.
pub(super) struct AtApp {
    worker: Rc<Worker>,
    source: Option<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Goes,
    /// It counts as one of its source.
    Counts,
    TooManyOfAll,
    TooManyOfConnection,
}

/// Whether one more may go to an app, with `all` of at most `most` there and `under_way` on its own connection.
fn verdict(all: u32, most: u32, under_way: u32, http2: bool) -> Verdict {
    if all >= most {
        return Verdict::TooManyOfAll;
    }
    match http2 {
        true if all >= most / 2 && under_way > FEW => Verdict::TooManyOfConnection,
        true if under_way > OWN => Verdict::Counts,
        _ => Verdict::Goes,
    }
}

impl AtApp {
    /// One more, for whoever is at `address`.
    ///
    /// # Errors
    /// [`EdgeError::TooManyStreams`], of its source or connection; [`EdgeError::HeldFull`], of all.
    pub(super) fn enter(client: &Client, address: IpAddr) -> Result<AtApp, EdgeError> {
        let worker = &client.worker;
        let at_apps = &worker.at_apps;
        let workers = u32::try_from(worker.shared.loads.len()).unwrap_or(1);
        let most = (client.limits().connections / workers.max(1)).max(LEAST);
        let all = at_apps.all.get();
        let source = match verdict(all, most, client.under_way(), client.http2.get()) {
            Verdict::TooManyOfAll => return Err(EdgeError::HeldFull),
            Verdict::TooManyOfConnection => return Err(EdgeError::TooManyStreams),
            Verdict::Goes => None,
            // A proxy that does not say for whom it asks stands for many.
            Verdict::Counts if worker.shared.stands_for_many(address) => None,
            Verdict::Counts => {
                let source = Source::of(address);
                let mut all = at_apps.of_sources.borrow_mut();
                let own = all.entry(source).or_default();
                if *own >= h2c::OF_SOURCE {
                    return Err(EdgeError::TooManyStreams);
                }
                *own += 1;
                Some(source)
            }
        };
        at_apps.all.set(all + 1);
        Ok(AtApp {
            worker: worker.clone(),
            source,
        })
    }
}

impl Drop for AtApp {
    fn drop(&mut self) {
        let at_apps = &self.worker.at_apps;
        at_apps.all.set(at_apps.all.get() - 1);
        if let Some(source) = self.source {
            let mut all = at_apps.of_sources.borrow_mut();
            if let Some(own) = all.get_mut(&source) {
                *own -= 1;
                if *own == 0 {
                    all.remove(&source);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_a_connection_has_its_own_then_its_sources_and_in_a_crowd_a_few() {
        for (all, under_way, http2, expected) in [
            (0, 1, false, Verdict::Goes),
            (99, 1, false, Verdict::Goes),
            (100, 1, false, Verdict::TooManyOfAll),
            (100, 1, true, Verdict::TooManyOfAll),
            (49, OWN, true, Verdict::Goes),
            (49, OWN + 1, true, Verdict::Counts),
            (50, FEW, true, Verdict::Goes),
            (50, FEW + 1, true, Verdict::TooManyOfConnection),
        ] {
            let found = verdict(all, 100, under_way, http2);
            assert_eq!(found, expected, "{all} {under_way} {http2}");
        }
    }
}
