//! Each verb, killed at each of its lines: what it was to do is done, once, and nothing is left over.

use std::path::Path;

use crate::place::{APP, Place};
use crate::support::authority::Authority;
use crate::support::git_host::GitHost;
use crate::support::sweep::Sweep;

fn none(_: &str) -> bool {
    false
}

#[test]
fn n5_a_rollback_survives_a_kill_at_every_point() {
    let p = Place::with_app("one");
    p.deploy(&p.folder("two"));
    p.until_page("page two", "its deploy");
    let (before, last) = (p.census(), p.newest());
    let bystander = p.bystander();
    let mut sweep = Sweep::of("n5_a_rollback_survives_a_kill_at_every_point");
    let points = sweep.points();
    p.die_through(&mut sweep, &points, &["rollback", APP], || {
        p.newest() > last
    });
    p.until_settled("the rollback");
    assert_eq!(p.newest(), last + 1, "it was done once");
    p.until_page("page one", "the rollback");
    before.until_equal("the rollback", || p.census(), none);
    let seen = bystander.leaves();
    assert!(seen.wrong.is_empty() && seen.answered > 0, "{seen:?}");
}

#[test]
fn n5_other_variables_survive_a_kill_at_every_point() {
    let p = Place::with_app("one");
    let (before, last) = (p.census(), p.newest());
    let bystander = p.bystander();
    let mut sweep = Sweep::of("n5_other_variables_survive_a_kill_at_every_point");
    let points = sweep.points();
    let set = ["env", APP, "set", "KEY=other", "--detach"];
    // Where the daemon dies before the deploy is queued, the change itself says that one is owed.
    p.die_through(&mut sweep, &points, &set, || {
        let names = p.told(&["env", APP]);
        names.to_string().contains("KEY")
    });
    p.until_page("page one other", "the change");
    p.until_settled("the change");
    assert!(p.newest() > last);
    before.until_equal("the change", || p.census(), none);
    let seen = bystander.leaves();
    assert!(seen.wrong.is_empty() && seen.answered > 0, "{seen:?}");
}

#[test]
fn n5_more_and_fewer_replicas_survive_a_kill_at_every_point() {
    let p = Place::with_app("one");
    let before = p.census();
    let bystander = p.bystander();
    let mut sweep = Sweep::of("n5_more_and_fewer_replicas_survive_a_kill_at_every_point");
    let points = sweep.points();
    let (down, up): (Vec<&String>, Vec<&String>) = points
        .iter()
        .partition(|point| point.ends_with(".drained") || point.ends_with(".gone"));
    let up: Vec<String> = up.into_iter().cloned().collect();
    let scaled = |to: i64| {
        let app = p.told(&["app", "show", APP]);
        app["scale"]["web"]["min"].as_i64() == Some(to)
    };
    let replicas = |to: i64| {
        let running = "container replica app:1 running";
        let is_about = format!("{:+} {running}", to - before.count(running));
        let about = move |line: &str| line == is_about;
        before.until_equal(&format!("web={to}"), || p.census(), about);
        assert_eq!(p.census().count(running), to);
    };
    p.die_through(&mut sweep, &up, &["scale", APP, "web=3"], || scaled(3));
    replicas(3);
    // One that is drained is on its way out when the work is taken up, and is not waited for again.
    for (point, to) in down.into_iter().zip(["2", "1"]) {
        let (to, web) = (to.parse().unwrap(), format!("web={to}"));
        let point = std::slice::from_ref(point);
        p.die_through(&mut sweep, point, &["scale", APP, &web], || scaled(to));
        replicas(to);
    }
    p.until_page("page one", "web=1");
    let seen = bystander.leaves();
    assert!(seen.wrong.is_empty() && seen.answered > 0, "{seen:?}");
}

/// The app has all that an app can have: a database, a repository, a volume, an image and a folder of files.
#[test]
fn n5_a_removal_survives_a_kill_at_every_point() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(&folder.path().join("authority"));
    let host = GitHost::start(folder.path(), &authority);
    let git = format!("[git]\nca_file = \"{}\"\n", authority.root_file.display());
    let p = Place::with(&git);
    p.fh.cli(&["db", "create", "main"]);
    let before = p.census();
    p.add_app();
    p.fh.cli(&["db", "attach", "main", APP]);
    p.deploy(&p.pages("files"));
    let built = p.folder("one");
    let settings = "[processes.web]\nport = 8000\n[volumes]\nkept = \"/kept\"\n";
    std::fs::write(built.join("freehold.toml"), settings).unwrap();
    let copy = host.repository("hello", &built);
    p.fh.cli(&["app", "set", APP, "--git", &copy.url]);
    p.fh.cli(&["deploy", "--git", &copy.url, "--app", APP]);
    p.until_settled("the deploy from the repository");
    p.until_page("page one", "the deploy from the repository");
    let whole = p.census();
    let more = |what: &str| whole.count(what) - before.count(what);
    assert_eq!(
        [
            "volume ",
            "image of a kept",
            "file repos/",
            "file static/1/"
        ]
        .map(more),
        // A folder of files, and the record of what is in it.
        [1, 1, 1, 2],
        "{whole:?}"
    );
    let apps = || p.told(&["db", "show", "main"])["apps"].to_string();
    assert!(apps().contains(APP), "{}", apps());

    let mut sweep = Sweep::of("n5_a_removal_survives_a_kill_at_every_point");
    let points = sweep.points();
    let rm = ["app", "rm", APP, "--yes", "--volumes"];
    p.die_through(&mut sweep, &points, &rm, || {
        let all = p.told(&["app", "list"]);
        let mut all = all.as_array().unwrap().iter();
        all.all(|app| app["name"] != APP || app["state"] == "being removed")
    });
    before.until_equal("the removal", || p.census(), none);
    assert_eq!(apps(), "[]");
    assert!(
        p.fh.refused(&["app", "show", APP])
            .contains("no app called")
    );
    // The name is free again, and the new app has nothing of the old one.
    p.add_app();
    p.deploy(&p.folder("again"));
    p.until_page("page again", "a new app of the name");
}

#[test]
fn n5_an_uploaded_folder_survives_a_kill_at_every_point() {
    let p = Place::with_app("one");
    let (before, last) = (p.census(), p.newest());
    let bystander = p.bystander();
    let mut sweep = Sweep::of("n5_an_uploaded_folder_survives_a_kill_at_every_point");
    let points = sweep.points();
    let folder = p.folder("two").display().to_string();
    let deploy = ["deploy", &folder, "--app", APP, "--detach"];
    p.die_through(&mut sweep, &points, &deploy, || p.newest() > last);
    p.until_page("page two", "the deploy");
    p.until_settled("the deploy");
    assert_eq!(p.newest(), last + 1, "it was done once");
    let about = |line: &str| line == "+1 image of a kept release";
    before.until_equal("the deploy", || p.census(), about);
    let seen = bystander.leaves();
    assert!(seen.wrong.is_empty() && seen.answered > 0, "{seen:?}");
}

#[test]
fn n5_a_folder_of_files_survives_a_kill_at_every_point() {
    let p = Place::empty();
    p.add_app();
    p.deploy(&p.pages("one"));
    p.deploy(&p.pages("two"));
    let (before, last) = (p.census(), p.newest());
    let bystander = p.bystander();
    let mut sweep = Sweep::of("n5_a_folder_of_files_survives_a_kill_at_every_point");
    let points = sweep.points();
    let folder = p.pages("three").display().to_string();
    let deploy = ["deploy", &folder, "--app", APP, "--detach"];
    p.die_through(&mut sweep, &points, &deploy, || p.newest() > last);
    p.until_settled("the deploy");
    p.until_page("page three", "the deploy");
    let (first, third) = (last - 1, last + 1);
    // Two releases are kept: the third's folder is there, and the first's is not.
    let about = |line: &str| {
        let of = |sign: &str, deploy: i64| {
            [String::new(), ".manifest".to_owned()]
                .iter()
                .any(|end| line == format!("{sign}1 file static/1/{deploy}{end}"))
        };
        of("-", first) || of("+", third)
    };
    before.until_equal("the deploy", || p.census(), about);
    for (deploy, there) in [(first, false), (last, true), (third, true)] {
        let folder = p.fh.data_dir().join(format!("static/1/{deploy}"));
        assert_eq!(folder.exists(), there, "{}", folder.display());
        assert!(!there || whole(&folder), "{}", folder.display());
    }
    let seen = bystander.leaves();
    assert!(seen.wrong.is_empty() && seen.answered > 0, "{seen:?}");
}

fn whole(folder: &Path) -> bool {
    folder.join("index.html").exists() && folder.join("more/a.txt").exists()
}

/// The saboteur leaves an upload where it is when its deploy is over: the census that finds nothing elsewhere finds it.
#[test]
fn n5_saboteur_a_file_that_is_left_over_is_found() {
    let p = Place::empty();
    p.add_app();
    p.deploy(&p.pages("one"));
    let before = p.census();
    p.fh.sabotage(Some("left-file"));
    p.deploy(&p.pages("two"));
    let left = p.census().difference(&before);
    let half = |line: &&String| line.contains("half done") && line.contains("upload-");
    assert!(left.iter().any(|line| half(&line)), "{left:#?}");
    // With its protections on again the daemon sweeps at its start.
    p.fh.sabotage(None);
    let about = |line: &str| line.contains(" file static/");
    before.until_equal("an honest start", || p.census(), about);
}
