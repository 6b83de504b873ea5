//! How often one caller may ask: reads and changes apart, told with every answer
//! (`RateLimit`, draft-ietf-httpapi-ratelimit-headers), refused with 429 and when to
//! come again. The box's own socket is not counted.
//!
//! A quota refills evenly (the generic cell rate algorithm): one moment a caller and
//! kind is all that is kept, of so many callers at most.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::base::clock::UnixMs;
use crate::web::auth;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::services::App;
use crate::wire::problem::{Problem, ProblemKind};

/// Kept at once; the oldest give way.
const CALLERS: usize = 8_192;
/// The window of every quota.
const WINDOW: Duration = Duration::from_secs(60);

/// Requests a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quota {
    name: &'static str,
    most: u32,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    allowed: bool,
    /// When the quota is whole again.
    whole: UnixMs,
    /// Left after this one.
    left: u32,
}

/// The one decision: `whole` is when the caller's quota is whole again, as it was kept.
fn decide(quota: Quota, whole: Option<UnixMs>, now: UnixMs) -> Verdict {
    let window = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
    let cost = (window / i64::from(quota.most.max(1))).max(1);
    // A clock set back must not lock anybody out.
    let whole = whole.map_or(now.0, |w| w.0.clamp(now.0, now.0 + window));
    let after = whole + cost;
    let allowed = after <= now.0 + window;
    let whole = if allowed { after } else { whole };
    let left = u32::try_from((now.0 + window - whole) / cost).unwrap_or(0);
    Verdict {
        allowed,
        whole: UnixMs(whole),
        left: left.min(quota.most),
    }
}

/// What is kept of callers.
#[derive(Clone, Default)]
pub struct Rates(Arc<Mutex<HashMap<(String, bool), UnixMs>>>);

impl Rates {
    fn take(&self, who: String, changes: bool, quota: Quota, now: UnixMs) -> Verdict {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CALLERS {
            all.retain(|_, whole| *whole > now);
        }
        if all.len() >= CALLERS {
            make_room(&mut all);
        }
        let verdict = decide(quota, all.get(&(who.clone(), changes)).copied(), now);
        all.insert((who, changes), verdict.whole);
        verdict
    }
}

/// Forgets those whose quota is whole first: the least is lost of them. An eighth at once, so that this is rare.
fn make_room(all: &mut HashMap<(String, bool), UnixMs>) {
    let mut moments: Vec<i64> = all.values().map(|whole| whole.0).collect();
    let (_, last, _) = moments.select_nth_unstable(CALLERS / 8);
    let last = *last;
    // Among equals any may go, as long as somebody does.
    let mut left = CALLERS / 8 + 1;
    all.retain(|_, whole| {
        let goes = whole.0 <= last && left > 0;
        left -= usize::from(goes);
        !goes
    });
}

/// An address as strangers are told apart by it: whoever has one of IPv6 has a whole /64.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            format!("{}/64", Ipv6Addr::from(bits))
        }
    }
}

/// Who is counted: a token, a session, else an address. Nobody on the box's own socket.
fn who(caller: &Caller, headers: &HeaderMap) -> Option<String> {
    match caller {
        Caller::Local { .. } => None,
        Caller::User { id, token, .. } => {
            let mark = crate::base::secret::sha256_hex(token.as_bytes());
            Some(format!("user {id} {mark}"))
        }
        Caller::Program { id, .. } => Some(format!("token {id}")),
        Caller::Nobody => {
            let address = auth::origin(headers).address;
            Some(address.map_or_else(String::new, network))
        }
    }
}

/// Counts a request of the API, and refuses one too many.
pub async fn count(
    State((app, rates)): State<(App, Rates)>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>();
    let caller = caller.cloned().unwrap_or(Caller::Nobody);
    let who = who(&caller, request.headers()).filter(|_| request.uri().path().starts_with("/api/"));
    let Some(who) = who else {
        return next.run(request).await;
    };
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let limits = app.settings.borrow().limits;
    let quota = match (reads, &caller) {
        // What a stranger asks is refused whatever it is; it costs as much as a read.
        (false, Caller::User { .. } | Caller::Program { .. }) => Quota {
            name: "changes",
            most: limits.api_changes,
        },
        _ => Quota {
            name: "reads",
            most: limits.api_reads,
        },
    };
    let now = UnixMs::now();
    let verdict = rates.take(who, quota.name == "changes", quota, now);
    let mut response = match verdict.allowed {
        true => next.run(request).await,
        false => refused(quota, verdict, now),
    };
    tell(response.headers_mut(), quota, verdict, now);
    response
}

fn refused(quota: Quota, verdict: Verdict, now: UnixMs) -> Response {
    let wait = wait(quota, verdict, now);
    let mut response = Failure::from(
        Problem::new(
            ProblemKind::SlowDown,
            format!(
                "{} a minute are taken from one caller, and this is one more",
                what(quota)
            ),
        )
        .remedy(format!(
            "Try again in {wait} s; RateLimit says what is left."
        )),
    )
    .into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(wait));
    response
}

fn what(quota: Quota) -> String {
    format!("{} {}", quota.most, quota.name)
}

/// Whole seconds until one request is free again.
fn wait(quota: Quota, verdict: Verdict, now: UnixMs) -> u64 {
    let window = WINDOW.as_millis() / u128::from(quota.most.max(1));
    let free = verdict.whole.0 + i64::try_from(window).unwrap_or(0)
        - i64::try_from(WINDOW.as_millis()).unwrap_or(0);
    UnixMs(free).since(now).as_secs() + 1
}

fn tell(headers: &mut HeaderMap, quota: Quota, verdict: Verdict, now: UnixMs) {
    let reset = verdict.whole.since(now).as_millis().div_ceil(1_000);
    let policy = format!("\"{}\";q={};w={}", quota.name, quota.most, WINDOW.as_secs());
    let left = format!("\"{}\";r={};t={reset}", quota.name, verdict.left);
    for (name, text) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: Quota = Quota {
        name: "changes",
        most: 4,
    };

    #[test]
    fn a1_a_quota_is_used_up_and_refills_evenly() {
        let now = UnixMs(1_000_000);
        let mut whole = None;
        for left in [3, 2, 1, 0] {
            let verdict = decide(FOUR, whole, now);
            assert!(verdict.allowed);
            assert_eq!(verdict.left, left);
            whole = Some(verdict.whole);
        }
        let refused = decide(FOUR, whole, now);
        assert!(!refused.allowed && refused.left == 0);
        assert_eq!(wait(FOUR, refused, now), 16);
        let later = now.plus(Duration::from_secs(15));
        assert!(decide(FOUR, whole, later).allowed);
        let whole_again = now.plus(WINDOW);
        assert_eq!(decide(FOUR, whole, whole_again).left, 3);
    }

    #[test]
    fn a1_a_clock_set_back_locks_nobody_out_for_longer_than_the_window() {
        let verdict = decide(FOUR, Some(UnixMs(i64::MAX / 2)), UnixMs(5));
        assert!(!verdict.allowed);
        assert_eq!(verdict.whole, UnixMs(60_005));
    }

    #[test]
    fn a1_callers_are_counted_apart_and_not_without_bound() {
        let rates = Rates::default();
        let now = UnixMs(7);
        for n in 0..CALLERS * 2 {
            rates.take(n.to_string(), false, FOUR, now);
        }
        assert!(rates.0.lock().unwrap().len() <= CALLERS);
        for _ in 0..4 {
            assert!(rates.take("ana".into(), true, FOUR, now).allowed);
        }
        assert!(!rates.take("ana".into(), true, FOUR, now).allowed);
        assert!(rates.take("ana".into(), false, FOUR, now).allowed);
        assert!(rates.take("ben".into(), true, FOUR, now).allowed);
    }

    #[test]
    fn a1_a_crowd_of_strangers_gives_nobody_their_quota_back() {
        let rates = Rates::default();
        let now = UnixMs(7);
        for _ in 0..4 {
            assert!(rates.take("ana".into(), true, FOUR, now).allowed);
        }
        for n in 0..CALLERS * 3 {
            rates.take(n.to_string(), false, FOUR, now);
        }
        assert!(rates.0.lock().unwrap().len() <= CALLERS);
        assert!(!rates.take("ana".into(), true, FOUR, now).allowed);
    }

    #[test]
    fn a1_strangers_are_told_apart_by_network() {
        let told = |text: &str| network(text.parse().unwrap());
        assert_eq!(told("2001:db8:1:2:3:4:5:6"), told("2001:db8:1:2::9"));
        assert_ne!(told("2001:db8:1:2::9"), told("2001:db8:1:3::9"));
        assert_ne!(told("192.0.2.1"), told("192.0.2.2"));
        assert_eq!(told("::ffff:192.0.2.1"), told("192.0.2.1"));
    }

    #[test]
    fn a1_what_is_left_is_told_in_the_drafts_words() {
        let now = UnixMs(1_000);
        let mut headers = HeaderMap::new();
        tell(&mut headers, FOUR, decide(FOUR, None, now), now);
        assert_eq!(headers["ratelimit-policy"], "\"changes\";q=4;w=60");
        assert_eq!(headers["ratelimit"], "\"changes\";r=3;t=15");
    }
}
