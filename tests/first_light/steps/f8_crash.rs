//! F8: kill -9 of the daemon anywhere; nothing is touched that serves, and what was half done is taken up or undone.
//!
//! The points come from the domains' own registries, which follow from their states: a new state is swept by itself.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::app::{APP, URL};
use crate::support::census::{Census, about_a_deploy};
use crate::support::load::trust;
use crate::support::process::signal;
use crate::support::sweep::Sweep;
use crate::support::until::{secs, until, until_true};
use crate::support::upstream;
use crate::world::World;

/// Id and start time of each container of the app.
pub fn containers(world: &World) -> BTreeMap<String, String> {
    containers_of(world, &world.fh.installation(), world.app_id())
}

/// The same while the daemon may be away.
fn containers_of(world: &World, installation: &str, app: i64) -> BTreeMap<String, String> {
    let owner = format!("label=freehold.owner=app:{app}");
    let ids = world.containers_of(installation, &owner);
    // One that is being removed may go between the list and the look.
    let started = ids.into_iter().map(|id| started_at(&id).map(|at| (id, at)));
    started.flatten().collect()
}

/// The app's one replica, once what an earlier deploy left is gone: no kill that is not about it may touch it.
pub fn the_replica(world: &World) -> BTreeMap<String, String> {
    world.app_is_up();
    until("one replica alone", secs(120), || {
        let found = containers(world);
        let is_alone = found.len() == 1;
        is_alone
            .then(|| found.clone())
            .ok_or_else(|| format!("{found:?}"))
    })
}

/// All that the box holds, and what lies half done in the store.
pub fn census(world: &World) -> Census {
    Census::with_store(&world.fh, &world.s3).by_release(&world.fh.data_dir())
}

/// Waits until the box holds what it did, but for what deploys change and what `about` says.
pub fn nothing_is_over(world: &World, before: &Census, when: &str, about: impl Fn(&str) -> bool) {
    let about = |line: &str| about_a_deploy(line) || about(line);
    before.until_equal(when, || census(world), about);
}

/// When a container began, if it is there.
fn started_at(id: &str) -> Option<String> {
    let looked = Command::new("docker")
        .args(["inspect", "--format", "{{.State.StartedAt}}", id])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&looked.stdout).trim().to_owned();
    looked.status.success().then_some(text)
}

/// Connections that wait in the held sockets are answered within 1 s of the restart; containers are untouched.
pub fn f8_a_killed_daemon_is_back_before_anybody_notices(world: &mut World) {
    let before = the_replica(world);
    let tls = Arc::new(trust(&world.public()));
    let once = || {
        world.fh.wait_until_up();
        let pid = world.fh.pid();
        // Stopped, it takes no connection any more: all wait for the next one.
        signal(pid, "STOP");
        until_true("the daemon to be stopped", secs(120), || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(") T ")
        });
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let stream = TcpStream::connect((world.fh.address, 443)).unwrap();
                let tls = tls.clone();
                std::thread::spawn(move || answered(stream, tls))
            })
            .collect();
        signal(pid, "KILL");
        let answered = waiting.into_iter().map(|one| one.join().unwrap());
        let last = answered.max().unwrap();
        assert_ne!(world.fh.pid(), pid);
        // Written when the process is.
        let started = std::fs::metadata(world.fh.path("pid")).unwrap().modified();
        last.duration_since(started.unwrap()).unwrap()
    };
    // A busy machine may take its time, and again; it is asked until it had some to spare twice.
    let mut took: Vec<Duration> = Vec::new();
    let quick = |took: &[Duration]| took.iter().filter(|t| **t <= secs(1)).count();
    while quick(&took) < 2 && took.len() < 8 {
        took.push(once());
    }
    println!("    answered {took:?} after the restart");
    assert!(quick(&took) >= 2, "{took:?}");
    assert_eq!(containers(world), before);
}

/// Asks the app on this connection; when its answer came.
fn answered(stream: TcpStream, tls: Arc<rustls::ClientConfig>) -> SystemTime {
    stream.set_read_timeout(Some(secs(120))).unwrap();
    let client = rustls::ClientConnection::new(tls, "tasks.test".try_into().unwrap());
    let mut stream = rustls::StreamOwned::new(client.unwrap(), stream);
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: tasks.test\r\n\r\n")
        .unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    SystemTime::now()
}

/// kill -9 before and after each state of a deploy is written.
pub fn f8_a_deploy_survives_a_kill_at_every_point(world: &mut World) {
    let (installation, app) = (world.fh.installation(), world.app_id());
    the_replica(world);
    let before = census(world);
    let mut sweep = Sweep::of("f8_a_deploy_survives_a_kill_at_every_point");
    for (number, point) in sweep.points().into_iter().enumerate() {
        world.set_version(&format!("crash {number}"));
        let last = world.newest_deploy_id();
        let live = containers(world);
        world.fh.arm(&point);
        world.push_unanswered(&format!("crash-{number}"));
        let mark = world.fh.struck(&point, secs(120));
        // Once the traffic has moved it is the new one that serves, and the old one is on its way out.
        let serving = if traffic_has_moved(&point) {
            let all = containers_of(world, &installation, app).into_iter();
            all.filter(|(id, _)| !live.contains_key(id)).collect()
        } else {
            live
        };
        assert!(!serving.is_empty(), "{point}: nothing serves");
        sweep.struck(world.fh.back(mark));
        for (id, started) in &serving {
            let now = started_at(id);
            // One that has moved the traffic meanwhile may have ended the old one, but not begun it again.
            let is_gone = now.is_none() && has_moved_the_traffic(world, last);
            assert!(
                is_gone || now.as_ref() == Some(started),
                "{point}: a live container was touched"
            );
        }
        // GitHub gives up on an unanswered event; whoever sees that sends it again.
        if world.newest_deploy_id() == last {
            world.push_to_live(&format!("crash-{number}-again"));
        }
        let deploy = world.deploy_after(last);
        let state = deploy["state"].as_str().unwrap().to_lowercase();
        assert!(
            ["live", "watching"].contains(&state.as_str()),
            "{point}: {deploy:#}"
        );
        assert_eq!(world.version(), format!("crash {number}"), "{point}");
        let left = until(&format!("one replica after {point}"), secs(120), || {
            let found = containers(world);
            if found.len() == 1 {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        });
        if traffic_has_moved(&point) {
            assert_eq!(left, serving, "{point}: another one serves");
        }
        nothing_is_over(world, &before, &point, |_| false);
    }
}

/// Whether a deploy after this one is past the point at which it takes the old containers away.
fn has_moved_the_traffic(world: &World, after: i64) -> bool {
    let deploy = world.newest_deploy().unwrap_or_default();
    let state = deploy["state"].as_str().unwrap_or_default();
    deploy["id"].as_i64() > Some(after) && ["draining", "watching", "live"].contains(&state)
}

fn traffic_has_moved(point: &str) -> bool {
    let after = [".draining.", ".watching."];
    after.iter().any(|s| point.contains(s))
}

/// kill -9 before and after each state of an order is written: the certificate comes all the same.
pub fn f8_an_order_survives_a_kill_at_every_point(world: &mut World) {
    let file = world.fh.path("routes.d").join("crash.toml");
    let port = upstream::answering("legacy");
    let live = the_replica(world);
    let before = census(world);
    let mut sweep = Sweep::of("f8_an_order_survives_a_kill_at_every_point");
    for (number, point) in sweep.points().into_iter().enumerate() {
        let failing = point.contains(".failed.");
        let host = if failing {
            format!("x{number}.blocked.test")
        } else {
            format!("crash{number}.test")
        };
        world.fh.arm(&point);
        std::fs::write(
            &file,
            format!("[[route]]\nhost = \"{host}\"\nupstream = \"http://127.0.0.1:{port}\"\n"),
        )
        .unwrap();
        // An order that the server refuses for reasons of its own is tried again after a minute.
        sweep.struck(world.fh.crashed(&point, secs(180)));
        let wanted = if failing { "failed" } else { "valid" };
        until(
            &format!("{host} to be {wanted} after {point}"),
            secs(180),
            || {
                let status = world.fh.json(&["status"]);
                let all = status["certificates"].as_array().unwrap().clone();
                let one = all
                    .into_iter()
                    .find(|c| c["host"] == host.as_str())
                    .unwrap_or_default();
                if one["state"] == wanted {
                    Ok(())
                } else {
                    Err(one.to_string())
                }
            },
        );
        if !failing {
            // It is written down before the edge has it.
            until(&format!("{host} to be served"), secs(120), || {
                let answer = world.public().get(&format!("https://{host}/")).send()?;
                let text = answer.text();
                (text == "legacy").then_some(()).ok_or(text)
            });
        }
        nothing_is_over(world, &before, &point, |_| false);
        assert_eq!(containers(world), live, "{point}: the app was touched");
    }
    std::fs::remove_file(&file).unwrap();
}

/// kill -9 before and after each state of a new database is written: it is made, or gone.
pub fn f8_a_new_database_survives_a_kill_at_every_point(world: &mut World) {
    let live = the_replica(world);
    let before = census(world);
    let mut sweep = Sweep::of("f8_a_new_database_survives_a_kill_at_every_point");
    for (number, point) in sweep.points().into_iter().enumerate() {
        let name = format!("crash{number}");
        let removing = point.contains(".removing.");
        if removing {
            world.fh.cli(&["db", "create", &name]);
        }
        world.fh.arm(&point);
        if removing {
            world.fh.try_cli(&["db", "rm", &name, "--yes"]);
        } else {
            world.fh.try_cli(&["db", "create", &name]);
        }
        sweep.struck(world.fh.crashed(&point, secs(120)));
        let shown = || {
            let all = world.fh.json(&["db", "list"]);
            let found = all
                .as_array()
                .unwrap()
                .iter()
                .find(|d| d["name"] == name.as_str())
                .cloned();
            found.map_or("gone".to_owned(), |d| {
                d["state"].as_str().unwrap().to_lowercase()
            })
        };
        // Before its row is written there is nothing to take up: somebody types the command again.
        let wanted = if removing { "gone" } else { "ready" };
        if shown() == "gone" && !removing {
            world.fh.try_cli(&["db", "create", &name]);
        }
        if removing && shown() == "ready" {
            world.fh.try_cli(&["db", "rm", &name, "--yes"]);
        }
        until(
            &format!("{name} to be {wanted} after {point}"),
            secs(120),
            || {
                let state = shown();
                if state == wanted { Ok(()) } else { Err(state) }
            },
        );
        if !removing {
            world.fh.cli(&["db", "rm", &name, "--yes"]);
            until_true("the database to be gone", secs(120), || shown() == "gone");
        }
        nothing_is_over(world, &before, &point, |_| false);
        assert_eq!(containers(world), live, "{point}: the app was touched");
    }
}

/// The container that answers for the app and its address in the app's network, once it is the only one and not at the
/// network's first address: that one is free then, and the next start takes it.
fn movable(world: &World) -> (String, String) {
    let owner = format!("label=freehold.owner=app:{}", world.app_id());
    for _ in 0..4 {
        let last = world.newest_deploy_id();
        world.fh.cli(&["app", "restart", APP]);
        world.live_after(last);
        until("one container alone", secs(120), || {
            match world.containers(&owner).as_slice() {
                [_] => Ok(()),
                others => Err(format!("{others:?}")),
            }
        });
        let id = world.app_is_up_container();
        let (gateway, address) = (
            last_octet(&in_network(world, &id, "Gateway")),
            address(world, &id),
        );
        if last_octet(&address) > gateway + 1 {
            return (id, address);
        }
    }
    panic!("every new container took the network's first address");
}

fn last_octet(address: &str) -> u32 {
    let (_, last) = address.rsplit_once('.').unwrap();
    last.parse().unwrap()
}

fn address(world: &World, id: &str) -> String {
    in_network(world, id, "IPAddress")
}

/// `field` of what the engine says of a container in its app's network.
fn in_network(world: &World, id: &str, field: &str) -> String {
    let each = format!(
        "{{{{range $name, $one := .NetworkSettings.Networks}}}}{{{{$name}}}}={{{{$one.{field}}}}} {{{{end}}}}"
    );
    let all = world.docker(&["inspect", "--format", &each, id]);
    let own = all.split_whitespace().find(|one| one.contains("-app-"));
    own.unwrap_or_else(|| panic!("no network of the app in {all}"))
        .to_owned()
}

/// kill -9 of the app's process, and `docker restart`: back by itself, the new address followed.
pub fn f8_a_killed_replica_comes_back(world: &mut World) {
    world.app_is_up();
    for verb in ["kill", "restart"] {
        let (id, before) = movable(world);
        world.docker(&[verb, &id]);
        until(
            &format!("the app to be back after {verb}"),
            secs(120),
            || {
                let answer = world.public().get(&format!("{URL}/healthz")).send()?;
                match (answer.status, world.app_is_up_container() == id) {
                    (200, true) => Ok(()),
                    (status, same) => Err(format!("{status}, same container: {same}")),
                }
            },
        );
        assert_ne!(
            address(world, &id),
            before,
            "the address is the same after {verb}: nothing was followed"
        );
    }
    until_true("the app to be said healthy", secs(120), || {
        let status = world.fh.json(&["status"]);
        let apps = status["apps"].as_array().unwrap().clone();
        apps.iter()
            .any(|a| a["name"] == APP && a["state"] == "healthy")
    });
}
