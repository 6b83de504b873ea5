//! Coming in and being kept out.

use std::net::IpAddr;

use super::*;
use crate::base::clock::UnixMs;
use crate::db::Kind;

fn origin() -> Origin {
    Origin {
        address: Some(IpAddr::from([192, 0, 2, 1])),
        agent: "test".into(),
        device: None,
        host: "panel.test".into(),
    }
}

fn by(who: &str) -> By {
    By::the_box(who)
}

fn users(folder: &tempfile::TempDir) -> Users {
    Users::new(
        Db::open(&folder.path().join("state.db"), Kind::State).unwrap(),
        Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()),
    )
}

#[tokio::test]
async fn f2_a_setup_link_works_once_and_signs_in() {
    let folder = tempfile::tempdir().unwrap();
    let users = users(&folder);
    let now = UnixMs(1_000_000);
    let link = users.new_setup_link(now).await.unwrap();
    let password = || Secret::new("four words are enough");
    let short = users
        .set_up(link.expose(), Secret::new("short"), origin(), now)
        .await;
    assert!(matches!(short, Err(UserError::PasswordRule(_))));
    let session = users
        .set_up(link.expose(), password(), origin(), now)
        .await
        .unwrap()
        .session;
    assert!(
        users
            .session(session.expose(), now)
            .await
            .unwrap()
            .is_some()
    );
    let again = users.set_up(link.expose(), password(), origin(), now).await;
    assert!(matches!(again, Err(UserError::LinkInvalid)));
}

#[tokio::test]
async fn f2_links_and_sessions_expire() {
    let folder = tempfile::tempdir().unwrap();
    let users = users(&folder);
    let now = UnixMs(0);
    let link = users.new_setup_link(now).await.unwrap();
    let late = users
        .link_is_for(link.expose(), &origin(), now.plus(people::LINK_LIFE))
        .await;
    assert!(matches!(late, Err(UserError::LinkInvalid)));
    let session = users
        .set_up(
            link.expose(),
            Secret::new("four words are enough"),
            origin(),
            now,
        )
        .await
        .unwrap()
        .session;
    let late = now.plus(SESSION_IDLE);
    assert!(
        users
            .session(session.expose(), late)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn f2_sign_in_out_and_password_change() {
    let folder = tempfile::tempdir().unwrap();
    let users = users(&folder);
    let now = UnixMs(1_000);
    let link = users.new_setup_link(now).await.unwrap();
    let first = users
        .set_up(
            link.expose(),
            Secret::new("four words are enough"),
            origin(),
            now,
        )
        .await
        .unwrap()
        .session;
    let wrong = users
        .sign_in(OWNER, Secret::new("not the password"), origin(), now)
        .await;
    assert!(matches!(wrong, Err(UserError::WrongPassword)));
    let nobody = users
        .sign_in("nobody", Secret::new("x"), origin(), now)
        .await;
    assert!(matches!(nobody, Err(UserError::WrongPassword)));
    let second = users
        .sign_in(OWNER, Secret::new("four words are enough"), origin(), now)
        .await
        .unwrap();
    let SignedIn::Whole(Entered {
        session: second, ..
    }) = second
    else {
        panic!("no code is asked for");
    };
    let user = users
        .session(second.expose(), now)
        .await
        .unwrap()
        .unwrap()
        .user;
    let third = users
        .change_password(
            (user, second.expose()),
            Proof {
                password: Secret::new("four words are enough"),
                code: String::new(),
            },
            Secret::new("another four words"),
            &origin(),
            now,
        )
        .await
        .unwrap();
    assert!(users.session(first.expose(), now).await.unwrap().is_none());
    assert!(
        users.session(second.expose(), now).await.unwrap().is_none(),
        "the cookie of before the change leads nowhere"
    );
    assert!(users.session(third.expose(), now).await.unwrap().is_some());
    users.sign_out(third.expose()).await.unwrap();
    assert!(users.session(third.expose(), now).await.unwrap().is_none());
}

fn person(user: i64) -> By {
    By {
        who: "somebody".into(),
        actor: Actor::Person(user),
    }
}

async fn somebody(users: &Users, name: &str, role: Role, now: UnixMs) -> Secret {
    let new = NewUser {
        name: name.into(),
        role,
        apps: Vec::new(),
    };
    let (_, link) = users.invite(new, by("owner"), now).await.unwrap();
    let password = Secret::new("four words are enough");
    users
        .set_up(link.expose(), password, origin(), now)
        .await
        .unwrap()
        .session
}

async fn owned(folder: &tempfile::TempDir, now: UnixMs) -> (Users, Secret) {
    let users = users(folder);
    let link = users.new_setup_link(now).await.unwrap();
    let password = Secret::new("four words are enough");
    let session = users
        .set_up(link.expose(), password, origin(), now)
        .await
        .unwrap()
        .session;
    (users, session)
}

#[tokio::test]
async fn a2_an_invitation_makes_somebody_with_the_role_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let now = UnixMs(1_000);
    let (users, _) = owned(&folder, now).await;
    let session = somebody(&users, "Ana@Example.com ", Role::Viewer, now).await;
    let seen = users.session(session.expose(), now).await.unwrap().unwrap();
    assert_eq!(
        (seen.name.as_str(), seen.grant.role),
        ("ana@example.com", Role::Viewer)
    );
    let again = NewUser {
        name: "ana@example.com".into(),
        role: Role::Owner,
        apps: Vec::new(),
    };
    let again = users.invite(again, by("owner"), now).await;
    assert!(matches!(again, Err(UserError::NameTaken(_))));
}

#[tokio::test]
async fn a2_a_developer_needs_an_app_and_a_name_must_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let now = UnixMs(1_000);
    let (users, _) = owned(&folder, now).await;
    for (name, role) in [
        ("ana", Role::Developer),
        ("", Role::Viewer),
        ("a b", Role::Viewer),
        ("../x", Role::Viewer),
    ] {
        let new = NewUser {
            name: name.into(),
            role,
            apps: Vec::new(),
        };
        let refused = users.invite(new, by("owner"), now).await;
        assert!(matches!(refused, Err(UserError::Invalid(_))), "{name}");
    }
    assert_eq!(users.people(now).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a2_the_last_owner_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let now = UnixMs(1_000);
    let (users, _) = owned(&folder, now).await;
    somebody(&users, "ana", Role::Admin, now).await;
    let refused = users.remove_user(OWNER, by("ana"), now).await;
    assert!(matches!(refused, Err(UserError::LastOwner)));
    let refused = users
        .change_role(OWNER, Role::Admin, Vec::new(), by("ana"), now)
        .await;
    assert!(matches!(refused, Err(UserError::LastOwner)));
    users
        .change_role("ana", Role::Owner, Vec::new(), by("owner"), now)
        .await
        .unwrap();
    users.remove_user(OWNER, by("ana"), now).await.unwrap();
}

#[tokio::test]
async fn a2_who_is_taken_out_is_out_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let now = UnixMs(1_000);
    let (users, _) = owned(&folder, now).await;
    let session = somebody(&users, "ana", Role::Admin, now).await;
    users.remove_user("ana", by("owner"), now).await.unwrap();
    assert!(
        users
            .session(session.expose(), now)
            .await
            .unwrap()
            .is_none()
    );
    let gone = users.remove_user("ana", by("owner"), now).await;
    assert!(matches!(gone, Err(UserError::NotFound(_))));
}

#[tokio::test]
async fn a2_a_new_role_counts_from_the_next_request() {
    let folder = tempfile::tempdir().unwrap();
    let now = UnixMs(1_000);
    let (users, _) = owned(&folder, now).await;
    let session = somebody(&users, "ana", Role::Admin, now).await;
    users
        .change_role("ana", Role::Viewer, Vec::new(), by("owner"), now)
        .await
        .unwrap();
    let seen = users.session(session.expose(), now).await.unwrap().unwrap();
    assert_eq!(seen.grant.role, Role::Viewer);
}

#[tokio::test]
async fn a2_a_session_of_ones_own_can_be_ended_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let now = UnixMs(1_000);
    let (users, owner) = owned(&folder, now).await;
    let ana = somebody(&users, "ana", Role::Viewer, now).await;
    let mine = users
        .session(owner.expose(), now)
        .await
        .unwrap()
        .unwrap()
        .user;
    let theirs = users
        .session(ana.expose(), now)
        .await
        .unwrap()
        .unwrap()
        .user;
    let mark = users.sessions(theirs, now).await.unwrap()[0].mark.clone();
    let (me, them) = (person(mine), person(theirs));
    let refused = users.end_session(mine, &mark, me, now).await;
    assert!(matches!(refused, Err(UserError::NoSession)));
    assert!(users.session(ana.expose(), now).await.unwrap().is_some());
    users.end_session(theirs, &mark, them, now).await.unwrap();
    assert!(users.session(ana.expose(), now).await.unwrap().is_none());
}

/// The audit log and kept answers tell callers by the row's id.
#[tokio::test]
async fn a3_the_id_of_what_is_gone_is_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let users = users(&folder);
    let now = UnixMs(1_000_000);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let new = NewToken {
            name: "ci".into(),
            user: None,
            verb: Verb::Read,
            apps: None,
            expires: None,
            deploys: None,
        };
        users.new_token(new, "ana", now).await.unwrap();
        let id = users.tokens(None).await.unwrap()[0].id;
        users.remove_token(id, None, "ana", now).await.unwrap();
        ids.push(id);
        let new = NewUser {
            name: "ana".into(),
            role: Role::Admin,
            apps: Vec::new(),
        };
        let (_, link) = users.invite(new, by("owner"), now).await.unwrap();
        let password = Secret::new("four words are enough");
        users
            .set_up(link.expose(), password, origin(), now)
            .await
            .unwrap();
        let id = users.person("ana", now).await.unwrap().id.unwrap();
        users.remove_user("ana", by("owner"), now).await.unwrap();
        ids.push(id);
    }
    assert_eq!(ids, [1, 1, 2, 2, 3, 3]);
}

#[tokio::test]
async fn a2_a_session_ends_after_ninety_days_however_much_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let users = users(&folder);
    let day = |n: u64| UnixMs(1_000_000).plus(Duration::from_secs(n * 24 * 3600));
    let link = users.new_setup_link(day(0)).await.unwrap();
    let password = Secret::new("four words are enough");
    let entered = users.set_up(link.expose(), password, origin(), day(0));
    let session = entered.await.unwrap().session;
    for n in 1..90 {
        let found = users.session(session.expose(), day(n)).await.unwrap();
        assert!(found.is_some(), "day {n}");
    }
    let over = users.session(session.expose(), day(90)).await.unwrap();
    assert!(over.is_none());
}
