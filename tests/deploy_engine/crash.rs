//! kill -9 at the ends of a deploy, while one overtakes another, and around an attachment; a census before and after
//! finds what is left over.

use std::path::PathBuf;
use std::process::Command;

use crate::support::census::{Census, about_a_deploy};
use crate::support::freehold::words;
use crate::support::sweep::Sweep;
use crate::support::until::{secs, until};
use crate::{APP, Place};

#[test]
fn f8_a_kill_at_every_end_of_a_deploy_changes_nothing_about_it() {
    let p = Place::new();
    p.deploy_well(&p.good("one"));
    let mut sweep = Sweep::of("f8_a_kill_at_every_end_of_a_deploy_changes_nothing_about_it");
    for point in sweep.points() {
        let end = point.split('.').nth(1).unwrap().to_owned();
        let text = point.replace('.', "-");
        let (before, serving) = (p.census(), p.containers());
        p.fh.arm(&point);
        let deploy = match end.as_str() {
            "live" => p.deploy_well(&p.good(&text)),
            "failed" => {
                let (good, said) = p.deploy(&p.folder(&text, "RUN exit 4", "true"));
                assert!(!good && said.contains("exit code 4"), "{point}: {said}");
                p.newest()["id"].as_i64().unwrap()
            }
            "returned" => p.deploy_and_die(&p.mortal(&text)),
            _ => {
                let slow = p
                    .folder(&text, "RUN sleep 600", "true")
                    .display()
                    .to_string();
                let detached = ["deploy", &slow, "--app", APP, "--detach"];
                let queued = p.fh.json(&detached)["deploy"].as_i64().unwrap();
                p.until_state(queued, "building");
                // The daemon may be gone before it can say that it is cancelled.
                p.fh.try_cli(&["cancel", APP]);
                queued
            }
        };
        sweep.struck(p.fh.crashed(&point, secs(120)));
        p.until_state(deploy, &end);
        if matches!(end.as_str(), "failed" | "cancelled") {
            assert_eq!(p.containers(), serving, "{point}");
        }
        until(&format!("calm after {point}"), secs(120), || {
            let newest = p.newest();
            let back = end != "returned" || newest["cause"] == "return";
            match back && newest["settled"] == true {
                true => Ok(()),
                false => Err(newest.to_string()),
            }
        });
        // One replica, too: one that rests between two deaths would be back among the next point's.
        before.until_equal(&point, || p.census(), about_a_deploy);
        assert!(!p.answer().is_empty(), "{point}");
    }
}

/// One deploy is in work, one waits, a third overtakes it: after a kill either both it and the end of the overtaken one
/// are written, or neither.
#[test]
fn f8_a_kill_while_a_deploy_overtakes_another_leaves_one_of_them() {
    let p = Place::new();
    let mut sweep = Sweep::of("f8_a_kill_while_a_deploy_overtakes_another_leaves_one_of_them");
    for point in sweep.points() {
        let name = |part: &str| format!("{}-{part}", point.replace('.', "-"));
        let detached = |folder: PathBuf| {
            let folder = folder.display().to_string();
            let queued = p.fh.json(&["deploy", &folder, "--app", APP, "--detach"]);
            queued["deploy"].as_i64().unwrap()
        };
        let slow = detached(p.folder(&name("slow"), "RUN sleep 600", "true"));
        p.until_state(slow, "building");
        let waiting = detached(p.good(&name("waiting")));
        p.fh.arm(&point);
        let last = p.good(&name("last"));
        let folder = last.display().to_string();
        // The daemon is gone before it can answer.
        p.fh.try_cli(&["deploy", &folder, "--app", APP, "--detach"]);
        sweep.struck(p.fh.crashed(&point, secs(180)));
        let newest = p.newest()["id"].as_i64().unwrap();
        let newest = if point.contains(".superseded.") {
            assert_eq!(newest, waiting, "{point}: half of it was written");
            assert_eq!(p.state(waiting), "queued", "{point}");
            // Nobody heard that it was taken, so it is asked for again.
            detached(last)
        } else {
            assert!(newest > waiting, "{point}");
            newest
        };
        assert_eq!(p.state(waiting), "superseded", "{point}");
        p.fh.cli(&["cancel", APP, &slow.to_string()]);
        p.until_state(slow, "cancelled");
        until(&format!("calm after {point}"), secs(180), || {
            let deploy = p.newest();
            let census = Census::of(&p.fh);
            let left = ["half done ", "file builds/", "image without a name"];
            let calm = deploy["id"].as_i64() == Some(newest)
                && deploy["settled"] == true
                && census.count("container ") == 1
                && left.iter().all(|what| census.count(what) == 0);
            match calm {
                true => Ok(()),
                false => Err(format!("{deploy} {census:?}")),
            }
        });
        assert_eq!(p.answer(), name("last"), "{point}");
    }
}

/// Whether every container of the app has the database's URL, or none has.
fn has_url(p: &Place) -> Result<bool, String> {
    let mut found = Vec::new();
    for container in p.containers() {
        let (name, _) = container.split_once(' ').unwrap();
        let env = "{{.Config.Env}} {{index .Config.Labels \"freehold.kind\"}}";
        let mut inspect = Command::new("docker");
        let out = inspect.args(["inspect", "--format", env, name]);
        // One on its way out may be gone by now.
        let said = words(&out.output().unwrap());
        if said.contains(" replica") {
            found.push(said.contains("DATABASE_URL="));
        }
    }
    match found.as_slice() {
        [first, rest @ ..] if rest.iter().all(|one| one == first) => Ok(*first),
        _ => Err(format!("{found:?}")),
    }
}

/// An app is attached and detached, and the daemon killed around each line that says so: what is written down comes to
/// the app's containers with nobody asking again; what is not was refused to whoever asked.
#[test]
fn f8_a_kill_around_an_attachment_leaves_the_app_with_what_is_written_down() {
    let p = Place::new();
    p.deploy_well(&p.good("one"));
    p.fh.cli(&["db", "create", "main"]);
    let until_url = |wanted: bool, when: &str| {
        until(&format!("the app's URL after {when}"), secs(120), || {
            let (has, newest) = (has_url(&p), p.newest());
            match has == Ok(wanted) && newest["settled"] == true {
                true => Ok(()),
                false => Err(format!("{has:?} {newest}")),
            }
        });
    };
    let attach = ["db", "attach", "main", APP];
    let detach = ["db", "detach", "main", APP, "--yes"];
    let mut attached = false;
    // What the first attachment brings stays: the network in which the server and its apps are.
    p.fh.cli(&attach);
    until_url(true, "the first attachment");
    p.fh.cli(&detach);
    until_url(false, "the first detachment");
    let before = p.census();
    let mut sweep =
        Sweep::of("f8_a_kill_around_an_attachment_leaves_the_app_with_what_is_written_down");
    for point in sweep.points() {
        let wanted = point.contains(".attach");
        if attached == wanted {
            p.fh.cli(if wanted { &detach } else { &attach });
            until_url(!wanted, "its preparation");
        }
        p.fh.arm(&point);
        let verb: &[&str] = if wanted { &attach } else { &detach };
        // What was not written down is refused; of the rest the next daemon may tell how it ended.
        let out = p.fh.try_cli(verb);
        let written = !point.ends_with("ing.before");
        assert!(written || !out.status.success(), "{point}: {}", words(&out));
        sweep.struck(p.fh.crashed(&point, secs(180)));
        if point.ends_with("ing.before") {
            p.fh.cli(verb);
        }
        until_url(wanted, &point);
        before.until_equal(&point, || p.census(), about_a_deploy);
        attached = wanted;
    }
}
