//! The bystander: somebody who asks at a fixed rate and must not notice an attack. Most of its requests go over connections
//! that it keeps, of HTTP/1.1 and HTTP/2 in turn, the others each over a new one, with all that a handshake takes.
//!
//! Open loop: an answer's time counts from when its request was due, whatever held it up, here or there.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::LocalSet;

use super::{Door, NAME, Outcome};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Http1 = http1::SendRequest<Empty<Bytes>>;
type Http2 = http2::SendRequest<Empty<Bytes>>;

const CONNECTIONS: usize = 16;
/// So many of the longest waits are told one by one.
const LONGEST: usize = 12;
/// The bystander's own address, by its number.
pub const HOME: u32 = u32::MAX;

pub struct Asks {
    pub path: String,
    /// A second.
    pub rate: f64,
    /// Of so many requests one has a connection of its own; 0: none.
    pub every_fresh: u64,
    pub seconds: f64,
    /// A request that waits longer has failed.
    pub patience: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kept1,
    Kept2,
    Fresh,
}

/// How requests of one kind went.
#[derive(Default)]
struct Ledger {
    asked: u64,
    waited_us: Vec<u64>,
    /// When each of them was due, and the same, to tell what held the longest up.
    waits_ms_us: Vec<(u64, u64)>,
    failed: u64,
    first_failure: Option<String>,
}

impl Ledger {
    fn is_settled(&self) -> bool {
        self.waited_us.len() as u64 + self.failed == self.asked
    }

    fn told(&mut self) -> serde_json::Value {
        self.waited_us.sort_unstable();
        self.waits_ms_us
            .sort_unstable_by_key(|(_, waited)| std::cmp::Reverse(*waited));
        self.waits_ms_us.truncate(LONGEST);
        let waited = &self.waited_us;
        let at = |share: f64| {
            let at = (waited.len() as f64 * share) as usize;
            waited.get(at.min(waited.len().saturating_sub(1))).copied()
        };
        serde_json::json!({
            "asked": self.asked,
            "failed": self.asked - waited.len() as u64,
            "first_failure": self.first_failure,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
            "max_us": at(1.0),
            "longest_due_ms_us": self.waits_ms_us,
        })
    }
}

/// One more connection.
async fn http1(door: &Door) -> Result<Http1, Failure> {
    let stream = TokioIo::new(door.tls(HOME, false).await?);
    let (sender, connection) = http1::handshake(stream).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

pub async fn ask(door: Door, asks: Asks) -> Outcome {
    LocalSet::new().run_until(asked(door, asks)).await
}

/// The connections that are kept. The one that has waited longest is next, so that none of them is idle for long.
struct Kept {
    door: Door,
    path: String,
    http1: RefCell<VecDeque<Http1>>,
    http2: Http2,
}

impl Kept {
    async fn answer(&self, way: Way) -> Result<(StatusCode, usize), Failure> {
        let path = &self.path;
        if way == Way::Kept2 {
            let request = Request::get(format!("https://{NAME}{path}")).body(Empty::new())?;
            let answer = self.http2.clone().send_request(request).await?;
            let status = answer.status();
            return Ok((status, answer.into_body().collect().await?.to_bytes().len()));
        }
        let free = match way {
            Way::Kept1 => self.http1.borrow_mut().pop_front(),
            _ => None,
        };
        // As a browser does, while all that it has are busy.
        let mut sender = match free {
            Some(free) => free,
            None => http1(&self.door).await?,
        };
        let request = Request::get(path.as_str()).header("host", NAME);
        let answer = sender.send_request(request.body(Empty::new())?).await?;
        let status = answer.status();
        let length = answer.into_body().collect().await?.to_bytes().len();
        if way == Way::Kept1 {
            sender.ready().await?;
            self.http1.borrow_mut().push_back(sender);
        }
        Ok((status, length))
    }
}

async fn asked(door: Door, asks: Asks) -> Outcome {
    let mut http1s = VecDeque::new();
    for _ in 0..CONNECTIONS {
        http1s.push_back(http1(&door).await?);
    }
    let stream = TokioIo::new(door.tls(HOME, true).await?);
    let (http2, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::task::spawn_local(connection);
    let kept = Rc::new(Kept {
        door,
        path: asks.path,
        http1: RefCell::new(http1s),
        http2,
    });
    // Whoever attacks may begin.
    println!("ready");
    let (of_kept, of_fresh) = (<Rc<RefCell<Ledger>>>::default(), Rc::default());
    let patience = asks.patience;
    let (count, begun) = ((asks.rate * asks.seconds) as u64, Instant::now());
    for number in 0..count {
        let due = begun + Duration::from_secs_f64(number as f64 / asks.rate);
        tokio::time::sleep_until(due.into()).await;
        let way = match (asks.every_fresh, number % 2) {
            (fresh @ 1.., _) if number % fresh == fresh - 1 => Way::Fresh,
            (_, 0) => Way::Kept1,
            _ => Way::Kept2,
        };
        let ledger = if way == Way::Fresh {
            &of_fresh
        } else {
            &of_kept
        };
        ledger.borrow_mut().asked += 1;
        let (ledger, kept) = (ledger.clone(), kept.clone());
        tokio::task::spawn_local(async move {
            let told = match tokio::time::timeout(patience, kept.answer(way)).await {
                Ok(Ok((StatusCode::OK, 1024))) => None,
                Ok(Ok((status, length))) => Some(format!("{status} with {length} bytes")),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {patience:?}")),
            };
            let mut ledger = ledger.borrow_mut();
            match told {
                None => {
                    let waited = due.elapsed().as_micros() as u64;
                    let due_ms = due.duration_since(begun).as_millis() as u64;
                    ledger.waited_us.push(waited);
                    ledger.waits_ms_us.push((due_ms, waited));
                }
                Some(told) => {
                    ledger.failed += 1;
                    ledger.first_failure.get_or_insert(told);
                }
            }
        });
    }
    let over = Instant::now() + patience + Duration::from_secs(1);
    while !(of_kept.borrow().is_settled() && of_fresh.borrow().is_settled())
        && Instant::now() < over
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = serde_json::json!({
        "kept": of_kept.borrow_mut().told(),
        "fresh": of_fresh.borrow_mut().told(),
    });
    println!("{told}");
    Ok(())
}
