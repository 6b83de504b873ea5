//! The app that the tests deploy. It answers what can be checked to the last byte, says which of its replicas did, and
//! misbehaves on command; it is spoken to in HTTP/1.1 only, because that is what the edge speaks to an app.
//!
//! Each path ends in the number of the request, so that every side can name it:
//! `/ok/N?size=`, `/slow/N?ms=`, `/upload/N`, `/download/N?bytes=&ms=`, `/events/N?every=&count=`, `/ws/N`; beside them
//! `/healthz` and `POST /behave?mode=` (`behaviour.rs`). After SIGTERM it goes on for STOP_MS and exits with 0; what is
//! open then breaks off, as with most apps.

mod answers;
mod behaviour;
mod frames;
mod pattern;
mod request;

use std::rc::Rc;

use behaviour::Behaviour;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run())
}

async fn run() -> std::io::Result<()> {
    // PID 1 of a container has no default for it.
    let mut term = signal(SignalKind::terminate())?;
    let behaviour = Rc::new(Behaviour::of_env());
    let serving = serve(&behaviour);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        _ = term.recv() => {}
    }
    eprintln!("SIGTERM: {} ms more", behaviour.stop.as_millis());
    tokio::select! {
        ended = &mut serving => ended,
        () = tokio::time::sleep(behaviour.stop) => Ok(()),
    }
}

async fn serve(behaviour: &Rc<Behaviour>) -> std::io::Result<()> {
    tokio::time::sleep(behaviour.start).await;
    let listener = TcpListener::bind(("0.0.0.0", behaviour.port)).await?;
    eprintln!(
        "version {} listens on {}",
        behaviour.version, behaviour.port
    );
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let behaviour = behaviour.clone();
        tokio::task::spawn_local(async move {
            // A client that goes away is none of its business.
            answers::connection(stream, &behaviour).await.ok();
        });
    }
}
