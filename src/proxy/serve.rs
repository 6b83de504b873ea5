//! Serve: one client connection, from the handshake to the protocol it speaks.
//!
//! hyper reads what strangers send; each request goes to `answer`.
use std::error::Error;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use h2::Reason;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::client::Client;
use super::client_io::{ClientIo, Transport};
use super::listener::{Arrival, Door, reset};
use super::origin::Header;
use super::proxy_protocol;
use super::refusal::Refusal;
use super::serve_http1::serve_http1;
use super::serve_http2::serve_http2;
use super::shared::Shared;
use super::sources::Source;
use super::tls::{self, Handshake};
use super::worker::Worker;

pub(super) async fn connection(worker: Rc<Worker>, arrival: Arrival) {
    let Arrival {
        stream,
        mut address,
        door,
        speaks_first,
        mut permit,
    } = arrival;
    let Ok(mut stream) = TcpStream::from_std(stream) else {
        return;
    };
    let shared = worker.shared.clone();
    let now = Instant::now();
    // For all that comes before the first request, so that no part of it gives the next one more time.
    let deadline = (now + shared.limits.load().client_header).into();
    let mut header = None;
    if speaks_first {
        // Whoever connects there says nothing before it, so nobody waits for a word of ours.
        let read = Box::pin(proxy_protocol::read(&mut stream));
        let told = match timeout_at(deadline, read).await {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => return no_header(&shared, address, &error.to_string()),
            Err(_) => return no_header(&shared, address, "it sent no whole header in time"),
        };
        let peer = address;
        header = Some(Header { peer, told });
        address = told.client.unwrap_or(address);
        let of_many = shared
            .trust
            .load()
            .is_some_and(|proxies| proxies.trusts(address));
        if told.client.is_some()
            && !of_many
            && let Err(why) = permit.count_as(Source::of(address))
        {
            shared.refused.count(why);
            return reset(&stream);
        }
    }
    let source = permit.is_counted().then(|| Source::of(address));
    let (transport, name, http2) = match door {
        Door::Http => (Transport::Plain(stream), None, false),
        Door::Https => {
            // Boxed: what a handshake needs is not carried along for the connection's life.
            let handshake = Box::pin(tls::handshake(
                stream,
                &shared.tls,
                &shared.snapshot,
                &worker.handshakes,
                source,
            ));
            match timeout_at(deadline, handshake).await {
                Ok(Ok(Handshake::Done {
                    stream,
                    name,
                    http2,
                })) => (Transport::Tls(stream), name, http2),
                Ok(Ok(Handshake::UnknownName)) => {
                    return shared.refused.count(Refusal::UnknownName);
                }
                Ok(Err(_)) => return shared.refused.count(Refusal::HandshakeFailed),
                Err(_) => return shared.refused.count(Refusal::HandshakeSlow),
            }
        }
    };
    let client = Rc::new(Client::new(
        worker.clone(),
        address,
        header,
        door == Door::Https,
        name,
        now,
    ));
    let _registered = worker.register(&client);
    let io = ClientIo::new(transport, client.clone(), http2);
    if http2 {
        client.http2.set(true);
        Box::pin(serve_http2(client, io)).await;
    } else {
        serve_http1(client, io).await;
    }
}

/// A proxy that the settings name sent no header: counted each time, and told to whoever can mend it.
fn no_header(shared: &Shared, proxy: IpAddr, why: &str) {
    shared.refused.count(Refusal::ProxyHeader);
    if shared.said_no_header.is_due(Instant::now()) {
        tracing::warn!(
            %proxy,
            why,
            "connections of a proxy are closed, because they do not begin with a header of the PROXY protocol: turn that on there, or take its address out of listen.proxy_protocol. Said once a minute"
        );
    }
}

/// Counts what a client sent that is not HTTP; one line each would be a gift to scanners.
pub(super) fn note(client: &Client, error: &hyper::Error) {
    let of_h2 = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>());
    match of_h2 {
        // Told already.
        Some(_) if client.is_condemned() => {}
        // h2 has limits of its own: heads that never end, empty frames, resets of what nobody has seen yet.
        Some(error) if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) => {
            client.refused(Refusal::Flood);
        }
        Some(error) if error.is_library() => client.refused(Refusal::BadRequest),
        None if error.is_parse() => client.refused(Refusal::BadRequest),
        _ => {}
    }
    tracing::trace!(client = client.address_text, %error, "a client connection ended in an error");
}
