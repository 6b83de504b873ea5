//! The whole of monitoring over a world of our own: a listener that answers, then does not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::base::shutdown::Shutdown;
use crate::db::Kind;
use crate::events;
use crate::proxy::Reading;
use crate::wire::checks::CheckState;
use crate::wire::overview::{App, AppState};

#[derive(Default)]
struct Own {
    wanted: Mutex<Vec<WantedCheck>>,
}

impl World for Own {
    fn readings(&self) -> Vec<RouteReading> {
        let reading = Reading {
            requests: 20,
            classes: [0, 18, 0, 0, 2],
            ..Reading::default()
        };
        vec![RouteReading {
            key: "route:1".into(),
            subject: "app:7".into(),
            reading,
        }]
    }
    fn wanted(&self) -> Later<'_, Result<Vec<WantedCheck>, String>> {
        let wanted = self.wanted.lock().unwrap().clone();
        Box::pin(async move { Ok(wanted) })
    }
    fn facts(&self) -> Later<'_, Result<Facts, String>> {
        let app = App {
            id: 7,
            name: "shop".into(),
            state: AppState::Running,
            ..App::default()
        };
        Box::pin(async move {
            Ok(Facts {
                apps: vec![app],
                ..Facts::default()
            })
        })
    }
}

fn want(url: &str) -> WantedCheck {
    WantedCheck {
        subject: "app:7".into(),
        name: "shop".into(),
        url: url.into(),
        strict: true,
        active: true,
    }
}

/// Answers over plain HTTP while `well`; the address.
async fn listener(well: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let code = if well.load(Ordering::SeqCst) {
                "200 OK"
            } else {
                "500 No"
            };
            tokio::spawn(async move {
                let mut head = [0; 1024];
                if stream.read(&mut head).await.is_ok() {
                    let answer = format!("HTTP/1.1 {code}\r\ncontent-length: 0\r\n\r\n");
                    stream
                        .write_all(answer.as_bytes())
                        .await
                        .unwrap_or_default();
                }
            });
        }
    });
    address
}

async fn until<T>(what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = ready().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}

#[tokio::test]
async fn f7_a_domain_is_checked_from_birth_and_an_incident_opens_and_closes() {
    let folder = tempfile::tempdir().unwrap();
    let state = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let metrics = Db::open(&folder.path().join("metrics.db"), Kind::Metrics).unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let mut config = Config::default();
    config.checks.every = Duration::from_secs(1);
    config.checks.rechecks = 1;
    let (_keep, settings) = watch::channel(Arc::new(config));
    let well = Arc::new(AtomicBool::new(true));
    let world = Arc::new(Own::default());
    let monitor = Monitor::start(
        Parts {
            state: state.clone(),
            metrics,
            world: world.clone(),
            settings,
            data_dir: folder.path().to_owned(),
            edge: listener(Arc::clone(&well)).await,
            extra_roots: vec![],
            counted: tokio::sync::watch::Sender::new(None),
        },
        &tasks,
    )
    .unwrap();
    let first = async || monitor.checks(UnixMs::now()).await.unwrap().pop();

    // The name is asked at the edge's address, so it need not resolve.
    *world.wanted.lock().unwrap() = vec![want("http://shop.test/healthz")];
    state
        .write(|tx| {
            events::record(
                tx,
                UnixMs(1),
                &events::NewEvent::new("app.domain", events::Level::Info, "app:7", "Added."),
            )
        })
        .await
        .unwrap();
    let check = until("up", async || {
        first().await.filter(|c| c.state == CheckState::Up)
    })
    .await;
    assert_eq!(
        (check.day.len(), check.day_share, check.subject.as_str()),
        (48, Some(1.0), "app:7")
    );

    well.store(false, Ordering::SeqCst);
    let check = until("down", async || {
        first().await.filter(|c| c.state == CheckState::Down)
    })
    .await;
    assert!(check.why.unwrap().contains("answered 500"));
    let status = monitor.overview(UnixMs::now()).await.unwrap();
    assert!(
        status
            .attention
            .iter()
            .any(|a| a.what.contains("shop.test/healthz does not answer")),
        "{:?}",
        status.attention
    );

    well.store(true, Ordering::SeqCst);
    until("up again", async || {
        first().await.filter(|c| c.state == CheckState::Up)
    })
    .await;
    let incidents = monitor.incident_rows(10.into()).await.unwrap();
    assert_eq!((incidents.len(), incidents[0].stage.as_str()), (1, "http"));
    assert!(incidents[0].closed_ms.is_some());
    let told = state
        .read(|c| events::newest(c, Some("app:7"), 10))
        .await
        .unwrap();
    let kinds: Vec<&str> = told.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(kinds, ["check.up", "check.down", "app.domain"]);

    // Figures arrive meanwhile.
    let status = until("figures", async || {
        let status = monitor.overview(UnixMs::now()).await.unwrap();
        let of_app = status.apps[0].rate.is_some() && status.apps[0].up_share.is_some();
        (status.machine.is_some() && of_app).then_some(status)
    })
    .await;
    assert!(status.machine.as_ref().is_some_and(|m| m.memory_total > 0));
    assert_eq!(status.apps[0].error_share, Some(0.1));
    // The newest point of a day is empty until the first figures of its minutes are in.
    let history = until("a figure in the newest point", async || {
        let window = Window::day(UnixMs::now());
        let history = monitor.box_history(window).await.unwrap();
        let there = history.cpu.last().unwrap().is_some();
        there.then_some(history)
    })
    .await;
    assert!(history.cpu[0].is_none());

    // Its domain goes, and it with it.
    world.wanted.lock().unwrap().clear();
    let id = monitor
        .add_check("other", "http://127.0.0.1:1/")
        .await
        .unwrap();
    until("gone", async || {
        (monitor.checks(UnixMs::now()).await.unwrap().len() == 1).then_some(())
    })
    .await;
    assert!(matches!(
        monitor.add_check("again", "http://127.0.0.1:1").await,
        Err(MonitorError::Already(_))
    ));
    monitor.remove_check(id).await.unwrap();
    assert!(matches!(
        monitor.remove_check(id).await,
        Err(MonitorError::NotFound(_))
    ));
    assert!(tasks.finish(Duration::from_secs(60)).await);
}

#[test]
fn f7_a_check_that_cannot_be_is_refused_with_an_example() {
    for (name, url) in [
        ("", "https://a.b"),
        ("a", "a.b"),
        ("a", "ftp://a.b"),
        ("a", "https://u:p@a.b"),
        ("a", "https://"),
    ] {
        assert!(parse_check(name, url).is_err(), "{name} {url}");
    }
    assert_eq!(
        parse_check(" a ", "https://a.b").unwrap(),
        ("a".into(), "https://a.b/".into())
    );
}

/// A world in which our own code panics.
struct Broken;

impl World for Broken {
    fn readings(&self) -> Vec<RouteReading> {
        panic!("on purpose")
    }
    fn wanted(&self) -> Later<'_, Result<Vec<WantedCheck>, String>> {
        Box::pin(async { std::future::pending().await })
    }
    fn facts(&self) -> Later<'_, Result<Facts, String>> {
        Box::pin(async { Ok(Facts::default()) })
    }
}

#[tokio::test]
async fn f8_figures_never_end_unnoticed() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let (_keep, settings) = watch::channel(Arc::new(Config::default()));
    let _monitor = Monitor::start(
        Parts {
            state: Db::open(&folder.path().join("state.db"), Kind::State).unwrap(),
            metrics: Db::open(&folder.path().join("metrics.db"), Kind::Metrics).unwrap(),
            world: Arc::new(Broken),
            settings,
            data_dir: folder.path().to_owned(),
            edge: ([127, 0, 0, 1], 1).into(),
            extra_roots: vec![],
            counted: tokio::sync::watch::Sender::new(None),
        },
        &tasks,
    )
    .unwrap();
    let begun = tokio::time::timeout(Duration::from_secs(60), tasks.shutdown().begun());
    assert!(begun.await.is_ok(), "nobody noticed");
    assert_eq!(tasks.lost(), Some("figures"));
}
