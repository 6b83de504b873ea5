//! Watch: the time limits and the phase of one connection, with one timer, moved only when it fires or must fire sooner.
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use super::client::{Client, Phase, Verdict};
use super::refusal::Refusal;

/// After the polite end of an idle connection, how long until it is dropped.
const GRACE: Duration = Duration::from_secs(5);

/// What a connection's task is to do with it now.
pub(super) enum Overdue {
    No,
    Park,
    End,
    Drop,
}

pub(super) struct Watch {
    sleep: Pin<Box<Sleep>>,
    ending: bool,
}

impl Watch {
    pub(super) fn new(client: &Client) -> Watch {
        let first = client
            .due()
            .unwrap_or_else(|| Instant::now() + client.limits().client_idle);
        Watch {
            sleep: Box::pin(sleep_until(first.into())),
            ending: false,
        }
    }

    /// Whether the connection is to be ended politely now; true once.
    pub(super) fn ends(&mut self, client: &Client, cx: &Context<'_>) -> bool {
        client.listen(cx);
        let ends = !self.ending && is_to_end(client);
        if ends
            && let Some(until) = client.comes_until()
            && until > Instant::now()
        {
            if self.sleep.deadline().into_std() > until {
                self.sleep.as_mut().reset(until.into());
            }
            return false;
        }
        self.ending |= ends;
        ends
    }

    pub(super) fn overdue(&mut self, client: &Client, cx: &mut Context<'_>) -> Overdue {
        if client.phase() == Phase::Cut {
            return Overdue::Drop;
        }
        if let Some(due) = client.due()
            && self.sleep.deadline().into_std() > due
        {
            self.sleep.as_mut().reset(due.into());
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if !self.ending && is_to_end(client) {
                self.ending = true;
                self.sleep.as_mut().reset((now + GRACE).into());
                return Overdue::End;
            }
            match client.verdict(now) {
                Verdict::Wait(until) => self.sleep.as_mut().reset(until.into()),
                Verdict::Park => {
                    self.sleep.as_mut().reset(client.idle_until().into());
                    return Overdue::Park;
                }
                Verdict::End if self.ending => return Overdue::Drop,
                Verdict::End => {
                    self.ending = true;
                    self.sleep.as_mut().reset((now + GRACE).into());
                    return Overdue::End;
                }
                Verdict::Drop(why) => {
                    if let Some(why) = why {
                        client.refused(why);
                    }
                    // The system would keep what it was sent for minutes, and count it for nobody.
                    if let Some(Refusal::SlowReader) = why {
                        client.is_to_be_reset.set(true);
                    }
                    return Overdue::Drop;
                }
            }
        }
        Overdue::No
    }
}

/// Whether the edge is so far on its way down that the connection ends as soon as nothing runs on it.
fn is_to_end(client: &Client) -> bool {
    // What is told over HTTP/2 costs nobody a request; over HTTP/1.1 an end meets one that is on its way.
    let phase = match client.http2.get() {
        true => Phase::Succeeded,
        false => Phase::Parting,
    };
    client.phase() >= phase
}
