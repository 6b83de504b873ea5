//! What is done to people is looked at again in the write: whoever may no longer do it changes nothing.
//!
//! Each [`By`] here is one that was good when the request was read, and stale when it writes.

use super::link_tests::{NOW, RIGHT, origin};
use super::*;
use crate::base::clock::UnixMs;
use crate::db::Kind;

/// A box with its owner, the admin ana, and the viewer bob, who has a session and a second factor.
struct World {
    users: Users,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self {
            users: Users::new(
                Db::open(&folder.path().join("state.db"), Kind::State).unwrap(),
                Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()),
            ),
            _folder: folder,
        };
        let link = world.users.new_setup_link(NOW).await.unwrap();
        world.take(&link).await;
        for (name, role) in [("ana", Role::Admin), ("bob", Role::Viewer)] {
            let new = NewUser {
                name: name.into(),
                role,
                apps: Vec::new(),
            };
            let by = By::the_box("the box");
            let (_, link) = world.users.invite(new, by, NOW).await.unwrap();
            world.take(&link).await;
        }
        world.enrol("bob").await;
        world
    }

    async fn take(&self, link: &Secret) {
        let password = Secret::new(RIGHT);
        self.users
            .set_up(link.expose(), password, origin(), NOW)
            .await
            .unwrap();
    }

    /// Their second factor is on, without the codes.
    async fn enrol(&self, name: &str) {
        let user = self.id(name).await;
        self.users.offer_second_factor(user, NOW).await.unwrap();
        let on = self
            .users
            .db
            .write(move |tx| store_second::activate(tx, user, NOW).map_err(UserError::from));
        on.await.unwrap();
    }

    async fn id(&self, name: &str) -> i64 {
        self.users.person(name, NOW).await.unwrap().id.unwrap()
    }

    async fn person(&self, name: &str) -> By {
        By {
            who: name.into(),
            actor: Actor::Person(self.id(name).await),
        }
    }

    /// A token of that user, or of the box.
    async fn token(&self, user: Option<&str>, verb: Verb, expires: Option<UnixMs>) -> By {
        let user = match user {
            Some(name) => Some(self.id(name).await),
            None => None,
        };
        let new = NewToken {
            name: "ci".into(),
            user,
            verb,
            apps: None,
            expires,
            deploys: None,
        };
        let made = self.users.new_token(new, "ana", NOW).await.unwrap();
        By {
            who: "the token ci".into(),
            actor: Actor::Token(made.id),
        }
    }

    /// The role alone, as if another request had come in between.
    async fn becomes(&self, name: &str, role: Role) {
        let user = self.id(name).await;
        let set = self
            .users
            .db
            .write(move |tx| store::set_role(tx, user, role, &[]).map_err(UserError::from));
        set.await.unwrap();
    }

    /// How bob stands: his role, his sessions, whether his second factor is on.
    async fn bob(&self) -> (Role, usize, bool) {
        let bob = self.users.person("bob", NOW).await.unwrap();
        let sessions = self.users.sessions(bob.id.unwrap(), NOW).await.unwrap();
        (bob.role, sessions.len(), bob.second_factor)
    }

    /// Everything that can be done to bob, each on its own; what each said.
    async fn everything(&self, by: &By) -> Vec<(&'static str, Result<(), UserError>)> {
        let bob = self.id("bob").await;
        let mark = self.users.sessions(bob, NOW).await.unwrap()[0].mark.clone();
        let users = &self.users;
        let by = || by.clone();
        vec![
            (
                "role",
                users
                    .change_role("bob", Role::Viewer, Vec::new(), by(), NOW)
                    .await,
            ),
            (
                "second factor",
                users.remove_second_factor("bob", by(), NOW).await,
            ),
            ("session", users.end_session(bob, &mark, by(), NOW).await),
            (
                "sessions",
                users.end_sessions((bob, "bob"), by(), NOW).await.map(drop),
            ),
            ("link", users.reset("bob", by(), NOW).await.map(drop)),
            ("removal", users.remove_user("bob", by(), NOW).await),
        ]
    }

    async fn refuses(&self, by: &By, expected: fn(&UserError) -> bool) {
        let before = self.bob().await;
        for (what, said) in self.everything(by).await {
            let error = said.expect_err(what);
            assert!(expected(&error), "{what}: {error:?}");
        }
        assert_eq!(self.bob().await, before);
    }
}

fn not_in_charge(error: &UserError) -> bool {
    matches!(error, UserError::NotInCharge)
}

#[tokio::test]
async fn a4_a_token_changes_nobody_once_its_user_was_made_less() {
    let world = World::new().await;
    let token = world.token(Some("ana"), Verb::Change, None).await;
    world.becomes("ana", Role::Viewer).await;
    world.refuses(&token, not_in_charge).await;
    // Nor once it is gone, with its user or alone, or has ended.
    world.becomes("ana", Role::Admin).await;
    let ends = world
        .token(
            Some("ana"),
            Verb::Change,
            Some(NOW.plus(Duration::from_secs(1))),
        )
        .await;
    let bob = world.id("bob").await;
    let late = NOW.plus(Duration::from_secs(1));
    let refused = world.users.end_sessions((bob, "bob"), ends, late).await;
    assert!(matches!(refused, Err(UserError::NotInCharge)));
    let by = By::the_box("the box");
    world.users.remove_user("ana", by, NOW).await.unwrap();
    world.refuses(&token, not_in_charge).await;
}

#[tokio::test]
async fn a4_a_token_changes_no_one_who_was_made_more_meanwhile() {
    let world = World::new().await;
    let token = world.token(Some("ana"), Verb::Change, None).await;
    world.becomes("bob", Role::Owner).await;
    world
        .refuses(&token, |e| {
            matches!(e, UserError::OnlyOwners | UserError::NotInCharge)
        })
        .await;
    // One of the box itself still may, within its verb.
    let bob = world.id("bob").await;
    let reads = world.token(None, Verb::Read, None).await;
    world.refuses(&reads, not_in_charge).await;
    let of_the_box = world.token(None, Verb::Change, None).await;
    let ended = world
        .users
        .end_sessions((bob, "bob"), of_the_box, NOW)
        .await;
    assert_eq!(ended.unwrap(), 1);
}

#[tokio::test]
async fn a4_a_person_changes_nobody_once_they_were_made_less_or_the_other_more() {
    let world = World::new().await;
    let ana = world.person("ana").await;
    world.becomes("bob", Role::Owner).await;
    world
        .refuses(&ana, |e| matches!(e, UserError::OnlyOwners))
        .await;
    world.becomes("bob", Role::Viewer).await;
    world.becomes("ana", Role::Developer).await;
    world.refuses(&ana, not_in_charge).await;
    let nobody = By {
        who: "nobody".into(),
        actor: Actor::Nobody,
    };
    world.refuses(&nobody, not_in_charge).await;
}

#[tokio::test]
async fn a4_whoever_still_may_changes_people_and_everybody_their_own() {
    let world = World::new().await;
    let ana = world.person("ana").await;
    for (what, said) in world.everything(&ana).await {
        // The one session is ended when all are, and there is no harm in none.
        assert!(said.is_ok(), "{what}: {said:?}");
    }

    // A program ends sessions and takes people out; who comes in and as what, and what asks for a code, a person says.
    let world = World::new().await;
    let token = world.token(Some("ana"), Verb::Change, None).await;
    for (what, said) in world.everything(&token).await {
        let good = ["session", "sessions", "removal"].contains(&what);
        assert_eq!(said.is_ok(), good, "{what}: {said:?}");
    }

    // A viewer is in charge of nobody, but of what is theirs.
    let world = World::new().await;
    let bob = world.person("bob").await;
    let user = world.id("bob").await;
    let mark = world.users.sessions(user, NOW).await.unwrap()[0]
        .mark
        .clone();
    let users = &world.users;
    users
        .remove_second_factor("bob", bob.clone(), NOW)
        .await
        .unwrap();
    users
        .end_session(user, &mark, bob.clone(), NOW)
        .await
        .unwrap();
    assert_eq!(world.bob().await, (Role::Viewer, 0, false));
    let refused = users.remove_second_factor("ana", bob, NOW).await;
    assert!(matches!(refused, Err(UserError::NotInCharge)));
}
