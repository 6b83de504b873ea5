//! The bystander: somebody who asks at a fixed rate, over HTTP/1.1 and HTTP/2 in turn, and must not notice an attack.
//!
//! Open loop: an answer's time counts from when its request was due, whatever held it up, here or there.
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::LocalSet;

use super::{Door, NAME, Outcome};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 16;
/// The bystander's own address.
const HOME: u32 = 59_999;

#[derive(Default)]
struct Ledger {
    waited_us: Vec<u64>,
    failed: u64,
    first_failure: Option<String>,
}

/// One more connection.
async fn http1(door: &Door) -> Result<http1::SendRequest<Empty<Bytes>>, Failure> {
    let stream = TokioIo::new(door.tls(HOME, false).await?);
    let (sender, connection) = http1::handshake(stream).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

pub async fn ask(door: Door, rate: f64, seconds: f64) -> Outcome {
    LocalSet::new().run_until(asked(door, rate, seconds)).await
}

async fn asked(door: Door, rate: f64, seconds: f64) -> Outcome {
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS {
        kept.push(http1(&door).await?);
    }
    let kept = Rc::new(RefCell::new(kept));
    let stream = TokioIo::new(door.tls(HOME, true).await?);
    let (http2, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), stream).await?;
    tokio::task::spawn_local(connection);
    let (count, begun) = ((rate * seconds) as u64, Instant::now());
    for number in 0..count {
        let due = begun + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let (ledger, kept, mut http2) = (ledger.clone(), kept.clone(), http2.clone());
        let door = door.clone();
        tokio::task::spawn_local(async move {
            let asking = async {
                if number % 2 == 0 {
                    let free = kept.borrow_mut().pop();
                    // As a browser does, while all that it has are busy.
                    let mut sender = match free {
                        Some(free) => free,
                        None => http1(&door).await?,
                    };
                    let request = Request::get("/1k").header("host", NAME);
                    let answer = sender.send_request(request.body(Empty::new())?).await?;
                    let status = answer.status();
                    let body = answer.into_body().collect().await?.to_bytes();
                    sender.ready().await?;
                    kept.borrow_mut().push(sender);
                    Ok::<_, Failure>((status, body.len()))
                } else {
                    let request = Request::get(format!("https://{NAME}/1k"));
                    let answer = http2.send_request(request.body(Empty::new())?).await?;
                    let status = answer.status();
                    let body = answer.into_body().collect().await?.to_bytes();
                    Ok((status, body.len()))
                }
            };
            let told = match tokio::time::timeout(PATIENCE, asking).await {
                Ok(Ok((status, 1024))) if status == 200 => None,
                Ok(Ok((status, length))) => Some(format!("{status} with {length} bytes")),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {PATIENCE:?}")),
            };
            let mut ledger = ledger.borrow_mut();
            match told {
                None => ledger.waited_us.push(due.elapsed().as_micros() as u64),
                Some(told) => {
                    ledger.failed += 1;
                    ledger.first_failure.get_or_insert(told);
                }
            }
        });
    }
    let over = Instant::now() + PATIENCE + Duration::from_secs(1);
    let settled = |ledger: &Ledger| ledger.waited_us.len() as u64 + ledger.failed == count;
    while !settled(&ledger.borrow()) && Instant::now() < over {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut ledger = ledger.borrow_mut();
    ledger.waited_us.sort_unstable();
    let at = |share: f64| {
        let last = ledger.waited_us.len().saturating_sub(1);
        let at = (ledger.waited_us.len() as f64 * share) as usize;
        ledger
            .waited_us
            .get(at.min(last))
            .copied()
            .unwrap_or_default()
    };
    let told = serde_json::json!({
        "asked": count,
        "failed": count - ledger.waited_us.len() as u64,
        "first_failure": ledger.first_failure,
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "max_us": at(1.0),
    });
    println!("{told}");
    Ok(())
}
