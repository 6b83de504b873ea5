//! N8: a commit that is deployed again is not built again: its release has the image that is there. A build that was asked
//! for, and another commit's, are seen by the same look.

use std::process::Command;

use crate::support::authority::Authority;
use crate::support::git_host::GitHost;
use crate::support::process::run;
use crate::{APP, Place};

/// A deploy's release, whether something was built for it, and the image that its container runs.
type Seen = (u64, bool, String);

fn deploy(p: &Place, url: &str, more: &[&str]) -> Seen {
    let arguments = [&["deploy", "--git", url, "--app", APP], more].concat();
    let deploy = p.fh.json(&arguments);
    assert_eq!(deploy["success"], true, "{deploy:#}");
    let steps = deploy["steps"].as_array().unwrap();
    let built = steps.iter().any(|step| step["state"] == "building");
    let mut list = Command::new("docker");
    let of_it = format!("name=-d{}-", deploy["id"]);
    list.args(["ps", "-q", "--filter", &of_it, "--filter"]);
    let container = run(list.arg(format!("label=freehold.installation={}", p.id)));
    let mut inspect = Command::new("docker");
    let image = run(inspect.args(["inspect", "--format", "{{.Image}}", container.trim()]));
    let release = deploy["release"].as_u64().unwrap();
    (release, built, image.trim().to_owned())
}

#[test]
fn n8_an_unchanged_commit_is_deployed_with_the_image_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let host = GitHost::start(folder.path(), &authority);
    let ca = authority.root_file.display();
    let p = Place::with(&format!("[git]\nca_file = \"{ca}\"\n"));
    // Each build makes another image.
    let build = "RUN head -c 16 /dev/urandom > made";
    let copy = host.repository(APP, &p.folder("one", build, "exec httpd -f -p 8000"));

    let (first, built, image) = deploy(&p, &copy.url, &[]);
    assert!(built);
    let images = p.images().len();
    let again = deploy(&p, &copy.url, &[]);
    assert_eq!(again, (first + 1, false, image.clone()));
    assert_eq!(p.images().len(), images, "{:?}", p.images());
    assert_eq!(p.answer(), "one");

    let (third, built, made) = deploy(&p, &copy.url, &["--rebuild"]);
    assert_eq!((third, built), (first + 2, true));
    // The engine's cache has the steps of the same tree: only that it was asked to build is seen here.
    println!("the image of a build of the same commit: {made}, before: {image}");
    copy.write("index.html", "two");
    copy.push("two");
    let (_, built, other) = deploy(&p, &copy.url, &[]);
    assert!(built && other != image, "{other}");
    assert_eq!(p.answer(), "two");
    let back = copy.git(&["rev-parse", "HEAD~1"]);
    let (_, built, earlier) = deploy(&p, &copy.url, &["--ref", back.trim()]);
    assert_eq!((built, earlier), (false, made), "an earlier commit's");
    assert_eq!(p.answer(), "one");
}
