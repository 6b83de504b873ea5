//! Saboteurs of the census: each thing that it is there to find is made by hand, as if this box had left it, and it must
//! be named. A census that counts nothing finds nothing left over either.

use std::path::Path;
use std::process::Command;

use crate::place::{APP, Place, URL};
use crate::support::census::Census;
use crate::support::process::{run, signal};
use crate::support::s3::S3;
use crate::support::until::{secs, until};

fn docker(arguments: &[&str]) -> String {
    let said = run(Command::new("docker").args(arguments));
    said.trim().to_owned()
}

/// Of a difference: that it says exactly this, whatever the order.
#[track_caller]
fn says(found: &[String], wanted: &[String]) {
    let (mut found, mut wanted) = (found.to_vec(), wanted.to_vec());
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn n5_saboteur_engine_objects_that_nobody_wants_are_named() {
    let p = Place::with_app("one");
    let id = p.fh.installation();
    let label = format!("freehold.installation={id}");
    let tag = format!("fh-{}/astray:1", &id[..6]);
    let name = |what: &str| format!("fh-by-hand-{what}-{}", &id[..6]);
    let before = Census::of_engine(&id);
    // A daemon that stands still tidies nothing away.
    let pid = p.fh.pid();
    signal(pid, "STOP");
    let (network, volume) = (name("network"), name("volume"));
    docker(&["network", "create", "--label", &label, &network]);
    docker(&["volume", "create", "--label", &label, &volume]);
    let kinds = [
        "--label",
        "freehold.kind=job",
        "--label",
        "freehold.owner=app:7",
    ];
    let made = [
        &["create", "--label", &label],
        &kinds[..],
        &["busybox:latest"],
    ]
    .concat();
    let container = docker(&made);
    docker(&["tag", "busybox:latest", &tag]);
    // As a build leaves what it made when its name went to another one.
    let change = format!("LABEL {label}");
    let nameless = docker(&["commit", "--change", &change, &container]);
    let found = Census::of_engine(&id).difference(&before);
    docker(&["rm", &container]);
    docker(&["rmi", &tag]);
    docker(&["rmi", &nameless]);
    docker(&["network", "rm", &network]);
    docker(&["volume", "rm", &volume]);
    let left = Census::of_engine(&id).difference(&before);
    signal(pid, "CONT");
    let wanted = [
        "+1 container job app:7 created".to_owned(),
        format!("+1 network {network}"),
        format!("+1 volume {volume}"),
        format!("+1 image {tag}"),
        "+1 image without a name <none>:<none>".to_owned(),
    ];
    says(&found, &wanted);
    says(&left, &[]);
}

#[test]
fn n5_saboteur_files_rows_parts_and_images_that_are_left_are_named() {
    let p = Place::with_app("one");
    let folder = tempfile::tempdir().unwrap();
    let store = S3::start(folder.path());
    store.create_bucket("dumps");
    let data = p.fh.data_dir();
    let census = || Census::with_store(&p.fh, &store).by_release(&data);
    let before = census();

    let file = |name: &str| {
        let path = data.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "left").unwrap();
        path
    };
    let (upload, half) = (file("builds/upload-77"), file("logs/access.tmp"));
    let files = [
        file("builds/77/Dockerfile"),
        file("repos/77.git/HEAD"),
        file("static/77/1/index.html"),
        file("backups/left.dump"),
    ];
    begin_an_upload(&store);
    let state = rusqlite::Connection::open(data.join("state.db")).unwrap();
    state.busy_timeout(secs(5)).unwrap();
    let app = p.told(&["app", "show", APP])["id"].as_i64().unwrap();
    state
        .execute_batch(&format!(
            "INSERT INTO app_pause_owners (app_id, owner, since_ms, until_ms) VALUES ({app}, 'nobody', 1, 1 << 50);
             INSERT INTO certificate_orders (id, host, directory, state, key_sealed, csr, created_ms, updated_ms)
                 VALUES (77, 'left.test', 'x', 'ordered', x'', x'', 1, 1);
             INSERT INTO certificate_challenges (token, answer, order_id) VALUES ('left', 'x', 77);
             INSERT INTO jobs (kind, key, payload, state, attempts, run_at_ms, created_ms)
                 VALUES ('app.replicas', 'left', '{{}}', 'queued', 0, 1 << 50, 1);
             UPDATE releases SET gone_ms = 1 WHERE app_id = {app};"
        ))
        .unwrap();
    let found = census().difference(&before);
    state
        .execute_batch(
            "DELETE FROM app_pause_owners; DELETE FROM certificate_challenges;
             DELETE FROM certificate_orders WHERE id = 77; DELETE FROM jobs WHERE key = 'left';
             UPDATE releases SET gone_ms = NULL",
        )
        .unwrap();
    let tag: String = state
        .query_row("SELECT image_tag FROM releases", [], |row| row.get(0))
        .unwrap();
    let part = store.uploads();
    assert_eq!(part.len(), 1, "{part:?}");
    let wanted = [
        format!("+1 half done {}", upload.display()),
        "+1 file builds/upload-77".to_owned(),
        format!("+1 half done {}", half.display()),
        "+1 file builds/77".to_owned(),
        "+1 file repos/77.git".to_owned(),
        "+1 file static/77/1".to_owned(),
        "+1 file backups/left.dump".to_owned(),
        format!("+1 part of an upload {}", part[0]),
        format!("+1 pause of app {app}"),
        "+1 challenge of order 77".to_owned(),
        "+1 open order for left.test".to_owned(),
        "+1 open job app.replicas left".to_owned(),
        "-1 image of a kept release".to_owned(),
        format!("+1 image {tag}"),
    ];
    says(&found, &wanted);
    for path in files.iter().chain([&upload, &half]) {
        std::fs::remove_file(path).unwrap();
    }
}

/// A multipart upload that is neither completed nor aborted.
fn begin_an_upload(store: &S3) {
    let mut curl = Command::new("curl");
    // The hash of nothing: curl signs it, and does not say it by itself.
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    curl.args(["--silent", "--fail", "--noproxy", "*", "-X", "POST"])
        .args(["--header", &format!("x-amz-content-sha256: {nothing}")])
        .args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user"])
        .arg(format!("{}:{}", store.access_key, store.secret_key))
        .arg(format!("{}/dumps/left.dump?uploads=", store.endpoint()));
    let said = run(&mut curl);
    assert!(said.contains("UploadId"), "{said}");
}

#[test]
fn n5_saboteur_a_request_that_is_held_is_named() {
    let p = Place::with_app("one");
    let before = p.census();
    p.fh.cli(&["maintenance", APP, "on"]);
    let roots = p.fh.path("run").join("root.pem");
    let edge = p.fh.edge(Path::new(&roots));
    let waits = std::thread::spawn(move || edge.get(URL).send());
    let found = until("a request to be held", secs(60), || {
        let found = p.census().difference(&before);
        match found.is_empty() {
            true => Err("none".to_owned()),
            false => Ok(found),
        }
    });
    says(&found, &["+1 held request".to_owned()]);
    p.fh.cli(&["maintenance", APP, "off"]);
    assert_eq!(waits.join().unwrap().unwrap().status, 200);
    before.until_equal("its answer", || p.census(), |_| false);
}
