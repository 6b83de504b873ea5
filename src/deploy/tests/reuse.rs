//! A commit that is deployed again.

use super::world::Place;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::deploy::{Cause, NewDeploy, Source, State};
use crate::git::{Branch, CommitId};

async fn deploy_again(p: &Place, commit: &str, rebuild: bool) -> i64 {
    let source = Source::Git {
        url: p.world.url.clone(),
        branch: Branch::parse("main").unwrap(),
        commit: Some(CommitId::parse(commit).unwrap()),
        rebuild,
    };
    let new = NewDeploy {
        app: 7,
        source,
        cause: Cause::Person,
        by: "ana".into(),
        delivery: None,
        title: None,
    };
    let id = p.deploys.create(new, UnixMs::now()).await.unwrap();
    p.until(id, State::Live).await;
    id
}

#[tokio::test]
async fn n8_a_commit_whose_image_is_kept_is_not_built_again() {
    let p = Place::new().await;
    let commit = p.commit("one");
    let first = p.push_event(&commit, "a").await.deploy.unwrap();
    p.until(first, State::Live).await;
    p.deploy("two").await;
    let new = Secret::new("new");
    p.world.told.lock().unwrap().env.insert("A".into(), new);
    let again = deploy_again(&p, &commit, false).await;
    assert_eq!(p.world.count("build"), 2);
    assert_eq!(p.world.count("job"), 3, "its release command is run");
    let log = p.log(again).await;
    assert!(log.contains("The image of v1 is of commit"), "{log}");
    assert!(!log.contains(" KB"), "{log}");
    let row = p.deploys.get(7, again).await.unwrap();
    assert_eq!(row.title.as_deref(), Some("one"));
    assert_eq!(row.commit.as_deref(), Some(commit.as_str()));
    let releases = p.deploys.releases(7).await.unwrap();
    let of = |number| releases.iter().find(|r| r.number == number).unwrap();
    assert_eq!(of(3).image, of(1).image);
    let told = p.world.told.lock().unwrap();
    let spec = &told.specs[&format!("tasks-web-v3-d{again}-1")];
    assert_eq!(spec.env["A"], "new", "with the environment of now");
    assert_eq!(spec.port, Some(8000));
}

#[tokio::test]
async fn n8_rebuild_builds_all_the_same_and_so_does_an_image_that_is_gone() {
    let p = Place::new().await;
    let commit = p.commit("one");
    let first = p.push_event(&commit, "a").await.deploy.unwrap();
    p.until(first, State::Live).await;
    deploy_again(&p, &commit, true).await;
    assert_eq!(p.world.count("build"), 2);
    // The newest of the two is taken.
    let again = deploy_again(&p, &commit, false).await;
    assert!(p.log(again).await.contains("The image of v2 is of"));
    // Somebody removed our tag: what is left may go any moment.
    p.world.told.lock().unwrap().images.clear();
    let built = deploy_again(&p, &commit, false).await;
    assert_eq!(p.world.count("build"), 3);
    let log = p.log(built).await;
    assert!(log.contains("is not on this box any more"), "{log}");
}

#[tokio::test]
async fn n8_what_never_went_live_is_built_again() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().release_exit = 3;
    let commit = p.commit("two");
    let failed = p.push_event(&commit, "b").await.deploy.unwrap();
    p.until(failed, State::Failed).await;
    p.world.told.lock().unwrap().release_exit = 0;
    deploy_again(&p, &commit, false).await;
    assert_eq!(p.world.count("build"), 3);
}

/// What reuse rests on: a build is given the tree and the Dockerfile's name, and nothing that is set elsewhere.
#[tokio::test]
async fn n8_a_build_takes_nothing_but_the_commit() {
    let p = Place::new().await;
    let secret = Secret::new("hunter3");
    p.world.told.lock().unwrap().env.insert("A".into(), secret);
    p.deploy("one").await;
    let told = p.world.told.lock().unwrap();
    let [request] = told.builds.as_slice() else {
        panic!("one build")
    };
    assert!(request.args.is_empty() && request.target.is_none());
    assert_eq!(request.dockerfile, "Dockerfile");
}
