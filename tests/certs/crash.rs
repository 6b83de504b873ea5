//! F8: kill -9 at every crash point of an order, then a start: the order ends
//! as if nothing had happened, with the key that was stored.
//!
//! The process that is killed is this test program itself, started again as
//! the ignored test `child` with what it needs in its environment.

use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use freehold::certs::{OrderState, Settings, Source, Wanted};
use freehold::config;
use freehold::db::{Db, DbError, Kind};

use crate::rig::{Running, with};
use crate::support::acme::Acme;
use crate::support::address::own_address;
use crate::support::census::Census;
use crate::support::sweep::{Killed, Sweep};

const HOST: &str = "tasks.test";
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn f8_an_order_survives_kill_9_at_every_crash_point() {
    let folder = tempfile::tempdir().unwrap();
    let address = own_address();
    let ca = Acme::start(&folder.path().join("acme"), address, DAY * 90);
    let astray = own_address();
    let mut sweep = Sweep::of("f8_an_order_survives_kill_9_at_every_crash_point");
    for point in sweep.points() {
        let home = folder.path().join(&point);
        std::fs::create_dir(&home).unwrap();
        let fails = point.contains(&format!(".{}.", OrderState::Failed.as_str()));
        ca.point(HOST, if fails { astray } else { address });
        let killed = child(&home, &ca, address, &point);
        assert_eq!(killed.signal(), Some(9), "{point}: {killed}");
        sweep.struck(Killed::at(&point, &home.join("mark")));
        let before = look(&home);
        let ended = child(&home, &ca, address, &point);
        assert!(ended.success(), "{point}: after the kill {ended}");
        let after = look(&home);
        if point == "certs.order.prepared.before" {
            assert_eq!(before.orders, 0, "{point}");
        } else {
            assert!(!before.key.is_empty(), "{point}: no key was stored");
            assert_eq!(before.key, after.key, "{point}: another key");
            assert_eq!(after.orders, 1, "{point}: another order was made");
        }
        assert_eq!(
            after.state,
            if fails { "failed" } else { "issued" },
            "{point}"
        );
        assert_eq!(after.issued, i64::from(!fails), "{point}");
        assert_eq!(after.challenges, 0, "{point}: a challenge is left over");
        // Neither an open order, nor a file that is not whole, nor work that nobody does.
        let left = Census::of_folder(&home).difference(&Census::default());
        assert!(left.is_empty(), "{point}: {left:#?}");
    }
}

/// What the rows say.
struct Rows {
    orders: i64,
    key: Vec<u8>,
    state: String,
    issued: i64,
    challenges: i64,
}

fn look(home: &Path) -> Rows {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let db = Db::open(&home.join("state.db"), Kind::State).unwrap();
    let rows = db.read(|c| {
        c.query_row(
            "SELECT count(*), coalesce(max(key_sealed), x''), coalesce(max(state), ''),
                 (SELECT count(*) FROM certificates c JOIN certificate_orders o USING (host, key_sealed)),
                 (SELECT count(*) FROM certificate_challenges)
             FROM certificate_orders",
            [],
            |r| {
                Ok(Rows {
                    orders: r.get(0)?,
                    key: r.get(1)?,
                    state: r.get(2)?,
                    issued: r.get(3)?,
                    challenges: r.get(4)?,
                })
            },
        )
        .map_err(DbError::from)
    });
    runtime.block_on(rows).unwrap()
}

/// Runs [`child`](self::child_process) until it is killed or done.
fn child(home: &Path, ca: &Acme, address: Ipv4Addr, point: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "crash::child_process",
            "--nocapture",
        ])
        .env("CERTS_HOME", home)
        .env("CERTS_DIRECTORY", &ca.directory)
        .env("CERTS_CA_FILE", &ca.ca_file)
        .env("CERTS_RESOLVER", &ca.resolver)
        .env("CERTS_ADDRESS", address.to_string())
        .env("FREEHOLD_CRASH_AT", point)
        .env("FREEHOLD_CRASH_MARK", home.join("mark"))
        .status()
        .unwrap()
}

#[tokio::test]
#[ignore = "the process that the test above kills"]
async fn child_process() {
    let Ok(home) = std::env::var("CERTS_HOME") else {
        return;
    };
    let given = |name| std::env::var(name).unwrap();
    let settings: Settings = with(config::Acme {
        email: String::new(),
        directory: given("CERTS_DIRECTORY"),
        ca_file: Some(PathBuf::from(given("CERTS_CA_FILE"))),
        resolver: Some(given("CERTS_RESOLVER").parse().unwrap()),
    });
    let address = given("CERTS_ADDRESS").parse().unwrap();
    let run = Running::open(Path::new(&home), settings, Some(address)).await;
    let wanted = Wanted {
        host: HOST.into(),
        source: Source::Acme,
    };
    run.certs.want(vec![wanted]).await.unwrap();
    let status = run
        .status(HOST, Duration::from_secs(120), |s| {
            s.not_after.is_some() || s.error.is_some()
        })
        .await;
    assert_eq!(status.order, None, "{status:?}");
    run.stop().await;
}
