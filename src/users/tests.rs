//! Coming in and being kept out.

use super::*;
use crate::db::Kind;

fn origin() -> Origin {
    Origin {
        address: Some(IpAddr::from([192, 0, 2, 1])),
        agent: "test".into(),
    }
}

fn users(folder: &tempfile::TempDir) -> Users {
    Users::new(Db::open(&folder.path().join("state.db"), Kind::State).unwrap())
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
        .unwrap();
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
    assert!(
        !users
            .link_is_open(link.expose(), now.plus(LINK_LIFE))
            .await
            .unwrap()
    );
    let session = users
        .set_up(
            link.expose(),
            Secret::new("four words are enough"),
            origin(),
            now,
        )
        .await
        .unwrap();
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
        .unwrap();
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
    let user = users
        .session(second.expose(), now)
        .await
        .unwrap()
        .unwrap()
        .user;
    users
        .change_password(
            user,
            Secret::new("four words are enough"),
            Secret::new("another four words"),
            second.expose(),
            now,
        )
        .await
        .unwrap();
    assert!(users.session(first.expose(), now).await.unwrap().is_none());
    users.sign_out(second.expose()).await.unwrap();
    assert!(users.session(second.expose(), now).await.unwrap().is_none());
}
