//! HTTP/2 with one client. Every stream is a task of the worker; this one moves the frames.
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use h2::Reason;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::answer::answer;
use super::client::Client;
use super::client_io::ClientIo;
use super::h2_frames::heads_of;
use super::h2_stream::Streams;
use super::refusal::Refusal;
use super::serve::note;
use super::watch::{Overdue, Watch};

/// Requests of one connection at a time.
const STREAMS: u32 = 128;
/// What h2 keeps of one answer that its client does not take yet; a piece more is taken when it falls below.
const SENT_AHEAD: usize = 32 * 1024;
/// How long the last frames may take.
const LAST_FRAMES: Duration = Duration::from_secs(1);

pub(super) async fn serve_http2(client: Rc<Client>, io: ClientIo) {
    let limits = client.limits();
    client.header_bytes.set(limits.header_bytes);
    let service = {
        let client = client.clone();
        service_fn(move |request| {
            if client.has_its_few() {
                client.refused(Refusal::SlowReader);
                // Nothing was done for it: its client may ask again.
                return Either::Left(ready(Err(h2::Error::from(Reason::REFUSED_STREAM))));
            }
            let answer = Box::pin(answer(client.clone(), request));
            Either::Right(answer.map(|answered| answered.map_err(|never| match never {})))
        })
    };
    let wire = io.wire();
    let mut connection = std::pin::pin!(
        http2::Builder::new(Streams::of(&client))
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(heads_of(limits.uri_bytes, limits.header_bytes))
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(SENT_AHEAD)
            // A proxy has more to reset at once than its client has; by itself h2 takes 20.
            .max_pending_accept_reset_streams(client.stands_for_many().then_some(STREAMS as usize))
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(io), service)
    );
    let mut watch = Watch::new(&client);
    let result = poll_fn(|cx| {
        wire.wakes_up();
        if watch.ends(&client, cx) {
            connection.as_mut().graceful_shutdown();
        }
        let polled = connection.as_mut().poll(cx);
        // What this wake-up wrote goes out now, together.
        if let Poll::Ready(Err(_)) = wire.poll_send(cx) {
            return Poll::Ready(Ok(()));
        }
        if polled.is_ready() {
            return polled;
        }
        match watch.overdue(&client, cx) {
            Overdue::No | Overdue::Park => Poll::Pending,
            Overdue::End => {
                connection.as_mut().graceful_shutdown();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Overdue::Drop => {
                if client.is_to_be_reset.get() {
                    wire.reset();
                }
                Poll::Ready(Ok(()))
            }
        }
    })
    .await;
    if let Err(error) = &result {
        note(&client, error);
    }
    client.leaves();
    // The last frames (GOAWAY) may still be on their way.
    if timeout(LAST_FRAMES, poll_fn(|cx| wire.poll_send(cx)))
        .await
        .is_err()
    {
        tracing::trace!(
            client = client.address_text,
            "a client did not take the end of its connection"
        );
    }
}
