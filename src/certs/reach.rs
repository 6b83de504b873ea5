//! Whether a name leads to this box: judged before the certificate authority
//! is asked to look, because its failed looks are few an hour.
//!
//! Only what is certain stops an order. A box behind a router or a content
//! network cannot see itself from outside, so there the doubt is a warning and
//! the authority's own look decides.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Request;

use crate::http_client::{HttpClient, Timeouts, empty};

/// What our own look at the challenge's path found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Every address answered as it should.
    Here,
    /// This address answered something else.
    Elsewhere(IpAddr),
    /// This address did not answer in a way that says anything.
    Unclear(IpAddr, String),
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to say.
    Go,
    /// Go on, but say this.
    Warn(String),
    /// Do not ask the authority; say this.
    Stop(String),
}

const TIMEOUTS: Timeouts = Timeouts {
    answer: Duration::from_secs(5),
    idle: Duration::from_secs(5),
};
const ADDRESSES: usize = 4;

/// Asks `http://<address>:<port>/.well-known/acme-challenge/<token>` as `host`.
pub(super) async fn look(
    client: &HttpClient,
    host: &str,
    addresses: &[IpAddr],
    port: u16,
    token: &str,
    answer: &str,
) -> Look {
    let mut unclear = None;
    for address in addresses.iter().take(ADDRESSES) {
        match ask(client, host, SocketAddr::new(*address, port), token).await {
            Ok((200, body)) if body.trim_end() == answer => {}
            Ok((200 | 404, _)) => return Look::Elsewhere(*address),
            Ok((status, _)) => {
                unclear = Some(Look::Unclear(*address, format!("status {status}")));
            }
            Err(why) => unclear = Some(Look::Unclear(*address, why)),
        }
    }
    unclear.unwrap_or(Look::Here)
}

async fn ask(
    client: &HttpClient,
    host: &str,
    at: SocketAddr,
    token: &str,
) -> Result<(u16, String), String> {
    let request = Request::get(format!("http://{at}/.well-known/acme-challenge/{token}"))
        .header(http::header::HOST, host)
        .header(http::header::USER_AGENT, "freehold")
        .body(empty())
        .map_err(|e| e.to_string())?;
    let answer = client
        .send(request, TIMEOUTS)
        .await
        .map_err(|e| e.to_string())?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Ok((status, String::new()));
    }
    let body = answer.into_body().collect_limited(64 << 10).await;
    let body = body.map(|b| String::from_utf8_lossy(&b).into_owned());
    Ok((status, body.unwrap_or_default()))
}

/// Decides. `ours` are the addresses of this box's interfaces.
pub(super) fn judge(host: &str, points_to: &[IpAddr], ours: &[IpAddr], look: &Look) -> Verdict {
    let listed = |addresses: &[IpAddr]| {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    let public: Vec<IpAddr> = ours.iter().copied().filter(|a| is_public(*a)).collect();
    match look {
        Look::Here => Verdict::Go,
        Look::Elsewhere(other) if !ours.contains(other) && !public.is_empty() => {
            Verdict::Stop(format!(
                "{host} points to {other}, where another server answers. This box is {}: change the name's {} record to that and remove the others.",
                listed(&public),
                if other.is_ipv6() { "AAAA" } else { "A" },
            ))
        }
        Look::Elsewhere(other) => Verdict::Warn(format!(
            "{host} points to {other}, and what answers there on port 80 is not this box's proxy."
        )),
        Look::Unclear(other, why) if ours.contains(other) => Verdict::Warn(format!(
            "Port 80 of this box ({other}) did not answer as {host}: {why}."
        )),
        Look::Unclear(other, why) => Verdict::Warn(format!(
            "{host} points to {}, which is no address of this box's interfaces, and {other} did not answer from here ({why}). Behind a router or a content network that is normal.",
            listed(points_to),
        )),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let [first, second, ..] = a.octets();
            !(a.is_private()
                || a.is_loopback()
                || a.is_link_local()
                || a.is_unspecified()
                || a.is_documentation()
                || (first == 100 && (64..128).contains(&second)))
        }
        IpAddr::V6(a) => a.segments()[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn f5_a_name_that_surely_leads_elsewhere_stops_the_order() {
        let ours = [ip("127.0.0.1"), ip("5.9.1.2")];
        let look = Look::Elsewhere(ip("5.9.9.9"));
        let Verdict::Stop(said) = judge("a.example", &[ip("5.9.9.9")], &ours, &look) else {
            panic!("goes on");
        };
        assert!(
            said.contains("points to 5.9.9.9") && said.contains("This box is 5.9.1.2"),
            "{said}"
        );
    }

    #[test]
    fn f5_behind_a_router_doubt_is_only_a_warning() {
        let ours = [ip("127.0.0.1"), ip("192.168.1.5")];
        for look in [
            Look::Elsewhere(ip("5.9.9.9")),
            Look::Unclear(ip("5.9.9.9"), "no answer".into()),
        ] {
            let verdict = judge("a.example", &[ip("5.9.9.9")], &ours, &look);
            assert!(matches!(verdict, Verdict::Warn(_)), "{verdict:?}");
        }
        assert_eq!(judge("a.example", &[], &ours, &Look::Here), Verdict::Go);
    }
}
