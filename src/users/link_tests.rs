//! One-time links: they give no more than their maker may give when they are used, and end with what they came from.

use super::*;
use crate::base::clock::UnixMs;
use crate::db::Kind;

pub(super) const NOW: UnixMs = UnixMs(1_000_000);
pub(super) const RIGHT: &str = "four words are enough";

pub(super) fn origin() -> Origin {
    Origin {
        address: None,
        agent: "test".into(),
        device: None,
        host: "panel.test".into(),
    }
}

fn the_box() -> By {
    By::the_box("uid 0 on the box")
}

/// A box with its owner, the admin ana and the viewer bob.
struct World {
    users: Users,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = Users::new(
            Db::open(&folder.path().join("state.db"), Kind::State).unwrap(),
            Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()),
        );
        let world = Self {
            users,
            _folder: folder,
        };
        let link = world.users.new_setup_link(NOW).await.unwrap();
        world.take(&link).await.unwrap();
        for (name, role) in [("ana", Role::Admin), ("bob", Role::Viewer)] {
            let link = world.invite(name, role, the_box()).await.unwrap();
            world.take(&link).await.unwrap();
        }
        world
    }

    async fn invite(&self, name: &str, role: Role, by: By) -> Result<Secret, UserError> {
        let new = NewUser {
            name: name.into(),
            role,
            apps: Vec::new(),
        };
        Ok(self.users.invite(new, by, NOW).await?.1)
    }

    async fn take(&self, link: &Secret) -> Result<Entered, UserError> {
        let password = Secret::new(RIGHT);
        self.users
            .set_up(link.expose(), password, origin(), NOW)
            .await
    }

    async fn id(&self, name: &str) -> i64 {
        self.users.person(name, NOW).await.unwrap().id.unwrap()
    }

    async fn by(&self, name: &str) -> By {
        By {
            who: name.into(),
            actor: Actor::Person(self.id(name).await),
        }
    }

    async fn give(&self, name: &str, role: Role, by: By) -> Result<(), UserError> {
        self.users
            .change_role(name, role, Vec::new(), by, NOW)
            .await
    }

    /// The link by which `maker` lets bob choose a password.
    async fn reset_by(&self, maker: &str) -> Secret {
        let by = self.by(maker).await;
        self.users.reset("bob", by, NOW).await.unwrap()
    }

    /// Whether the link lets nobody in.
    async fn is_dead(&self, link: &Secret) -> bool {
        matches!(self.take(link).await, Err(UserError::LinkInvalid))
    }
}

#[tokio::test]
async fn a2_a_link_ends_when_whom_it_is_for_gets_another_role() {
    let world = World::new().await;
    let link = world.reset_by("ana").await;
    let owner = world.by("owner").await;
    world.give("bob", Role::Owner, owner).await.unwrap();
    assert!(world.is_dead(&link).await, "an admin holds an owner's link");
}

#[tokio::test]
async fn a2_a_link_gives_no_more_than_its_maker_may_when_it_is_used() {
    let world = World::new().await;
    let link = world.reset_by("ana").await;
    // The role alone, as if the link had come in between.
    let bob = world.id("bob").await;
    let promoted = world
        .users
        .db
        .write(move |tx| store::set_role(tx, bob, Role::Owner, &[]).map_err(UserError::from));
    promoted.await.unwrap();
    assert!(world.is_dead(&link).await);
    // The box itself may give every role.
    let link = world.users.reset("bob", the_box(), NOW).await.unwrap();
    world.take(&link).await.unwrap();
}

#[tokio::test]
async fn a2_whoever_is_taken_out_or_made_less_lets_nobody_in() {
    let world = World::new().await;
    let ana = world.by("ana").await;
    let owner = world.by("owner").await;
    let invited = world.invite("eve", Role::Admin, ana.clone()).await.unwrap();
    let reset = world.users.reset("bob", ana.clone(), NOW).await.unwrap();
    world
        .give("ana", Role::Viewer, owner.clone())
        .await
        .unwrap();
    assert!(world.is_dead(&invited).await && world.is_dead(&reset).await);
    let refused = world.invite("eve", Role::Viewer, ana.clone()).await;
    assert!(matches!(refused, Err(UserError::NotInCharge)));

    world.give("ana", Role::Admin, owner.clone()).await.unwrap();
    let invited = world.invite("eve", Role::Admin, ana).await.unwrap();
    world.users.remove_user("ana", owner, NOW).await.unwrap();
    assert!(world.is_dead(&invited).await, "ana comes in again as eve");
}

#[tokio::test]
async fn a2_a_new_password_ends_the_open_link() {
    let world = World::new().await;
    let bob = world.id("bob").await;
    let link = world.users.reset("bob", the_box(), NOW).await.unwrap();
    let signed_in = world
        .users
        .sign_in("bob", Secret::new(RIGHT), origin(), NOW);
    let SignedIn::Whole(entered) = signed_in.await.unwrap() else {
        panic!("no code is asked for");
    };
    let proof = Proof {
        password: Secret::new(RIGHT),
        code: String::new(),
    };
    let new = Secret::new("another four words");
    world
        .users
        .change_password((bob, entered.session.expose()), proof, new, &origin(), NOW)
        .await
        .unwrap();
    assert!(world.is_dead(&link).await);
}

#[tokio::test]
async fn a2_an_admin_takes_no_owners_invitation_away() {
    let world = World::new().await;
    let owners = world
        .invite("eve", Role::Owner, world.by("owner").await)
        .await
        .unwrap();
    let refused = world
        .invite("eve", Role::Viewer, world.by("ana").await)
        .await;
    assert!(matches!(refused, Err(UserError::OnlyOwners)));
    world.take(&owners).await.unwrap();
    // What was taken meanwhile is no invitation any more, for nobody.
    let refused = world.invite("eve", Role::Viewer, the_box()).await;
    assert!(matches!(refused, Err(UserError::NameTaken(_))));
}

#[tokio::test]
async fn a2_who_has_not_come_in_yet_is_asked_in_again_and_not_changed() {
    let world = World::new().await;
    world.invite("eve", Role::Viewer, the_box()).await.unwrap();
    let refused = world.give("eve", Role::Admin, the_box()).await;
    assert!(matches!(refused, Err(UserError::NotInYet(_))));
    let refused = world.give("nobody", Role::Admin, the_box()).await;
    assert!(matches!(refused, Err(UserError::NotFound(_))));
}

#[tokio::test]
async fn a2_no_list_is_cut_because_what_it_lists_is_bounded() {
    let world = World::new().await;
    let bob = world.id("bob").await;
    let mut last = None;
    for n in 0..130 {
        let at = UnixMs(NOW.0 + n);
        let entered = world.users.enter(origin(), at, move |_| Ok(Some(bob)));
        last = entered.await.unwrap();
    }
    let most = usize::try_from(store_sessions::OF_ONE).unwrap();
    let listed = world.users.sessions(bob, NOW).await.unwrap();
    assert_eq!(listed.len(), most);
    let (last, _) = last.unwrap();
    assert!(
        world
            .users
            .session(last.session.expose(), NOW)
            .await
            .unwrap()
            .is_some(),
        "the newest goes on"
    );
    let kept = world.users.db.read(|c| {
        let count = c.query_row("SELECT count(*) FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = 'bob')", [], |r| r.get::<_, i64>(0));
        count.map_err(|e| UserError::Db(e.into()))
    });
    assert_eq!(usize::try_from(kept.await.unwrap()).unwrap(), listed.len());

    // As many people as there can be, each with tokens.
    let filled = world.users.db.write(|tx| {
        tx.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1096)
             INSERT INTO users (id, name, role, password_hash, created_ms) SELECT i, 'u' || i, 'viewer', 'x', 1 FROM n;
             INSERT INTO tokens (id, digest, mark, name, user_id, verb, created_ms)
             SELECT id * 2, 'a' || id, 'm', 'one', id, 'read', 1 FROM users
             UNION ALL SELECT id * 2 + 1, 'b' || id, 'm', 'two', id, 'read', 1 FROM users;",
        )
        .map_err(|e| UserError::Db(e.into()))
    });
    filled.await.unwrap();
    assert_eq!(world.users.people(NOW).await.unwrap().len(), 1000);
    assert_eq!(world.users.tokens(None).await.unwrap().len(), 2000);
    assert_eq!(world.users.tokens_that_go_on("u100", NOW).await, 2);
    let refused = world.invite("eve", Role::Viewer, the_box()).await;
    assert!(matches!(refused, Err(UserError::Invalid(_))));
}
