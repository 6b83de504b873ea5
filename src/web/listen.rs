//! The two sockets: accept, learn who it is, serve.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as Std;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{UnixListener, UnixStream};
use tower::ServiceExt;

use super::caller::Caller;
use super::unread::Noted;
use crate::base::said::Said;
use crate::base::shutdown::Tasks;

/// For the first head of a connection that was taken just before the end.
const MOMENT: Duration = Duration::from_secs(1);

/// Makes the socket at `path`, replacing a dead one, with `mode`.
fn bind(path: &Path, mode: u32) -> io::Result<Std> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = Std::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Makes the socket of the dashboard behind the edge; only this user may connect.
///
/// # Errors
/// When it cannot be made.
pub fn bind_edge(path: &Path) -> io::Result<Std> {
    bind(path, 0o600)
}

/// Makes the socket of the box's owner: root, the daemon's own user, and whoever shares the socket's group may connect;
/// the file's mode keeps others out.
///
/// # Errors
/// When it cannot be made.
pub fn bind_local(path: &Path) -> io::Result<Std> {
    bind(path, 0o660)
}

/// Serves the dashboard behind the edge.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve_edge(socket: Std, router: Router, tasks: &Tasks) -> io::Result<()> {
    accept("web-edge", socket, router, tasks, |_| Some(Caller::Nobody))
}

/// Serves the box's owner.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve_local(socket: Std, router: Router, tasks: &Tasks) -> io::Result<()> {
    let me = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    accept("web-local", socket, router, tasks, move |stream| {
        let peer = stream.peer_cred().ok()?;
        let member = super::peer::is_member(peer.uid(), group);
        (peer.uid() == 0 || peer.uid() == me || peer.gid() == group || member)
            .then(|| Caller::Local { uid: peer.uid() })
    })
}

fn accept(
    name: &'static str,
    socket: Std,
    router: Router,
    tasks: &Tasks,
    who: impl Fn(&UnixStream) -> Option<Caller> + Send + 'static,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket)?;
    let group = tasks.clone();
    let shutdown = tasks.shutdown().clone();
    let said = Said::new(Instant::now());
    tasks.spawn(name, async move {
        loop {
            let accepted = tokio::select! {
                () = shutdown.begun() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if said.is_due(Instant::now()) {
                        tracing::warn!(%error, socket = name, "connections cannot be accepted, and wait. Said once a minute");
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let Some(caller) = who(&stream) else {
                tracing::warn!(
                    socket = name,
                    "a connection by a stranger on the box was refused"
                );
                continue;
            };
            let router = router.clone();
            let shutdown = shutdown.clone();
            group.spawn("web-connection", async move {
                let service =
                    hyper::service::service_fn(move |request: http::Request<Incoming>| {
                        let router = router.clone();
                        let caller = caller.clone();
                        async move {
                            let (parts, body) = request.into_parts();
                            let (body, whole) = Noted::new(body);
                            let mut request = http::Request::from_parts(parts, Body::new(body));
                            request.extensions_mut().insert(caller);
                            let answer = router.oneshot(request).await?;
                            Ok::<_, Infallible>(whole.told(answer))
                        }
                    });
                let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
                server
                    .http1()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(60));
                let connection =
                    server.serve_connection_with_upgrades(TokioIo::new(stream), service);
                tokio::pin!(connection);
                tokio::select! {
                    ended = connection.as_mut() => if let Err(error) = ended {
                        tracing::debug!(%error, "a dashboard connection ended");
                    },
                    () = shutdown.begun() => {
                        // Who was just taken is on its way to say what it wants.
                        if tokio::time::timeout(MOMENT, connection.as_mut()).await.is_ok() {
                            return;
                        }
                        connection.as_mut().graceful_shutdown();
                        if tokio::time::timeout(Duration::from_secs(2), connection).await.is_err() {
                            tracing::debug!("a dashboard connection was cut at shutdown");
                        }
                    }
                }
            });
        }
    });
    Ok(())
}
