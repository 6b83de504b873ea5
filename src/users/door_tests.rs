//! Being slowed down, being known, confirming, and what ends a session.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::base::clock::UnixMs;
use crate::db::Kind;

const NOW: UnixMs = UnixMs(1_000_000);
const RIGHT: &str = "four words are enough";

fn from(address: u8) -> Origin {
    Origin {
        address: Some(IpAddr::from([192, 0, 2, address])),
        agent: "test".into(),
        device: None,
        host: "panel.test".into(),
    }
}

fn proof(password: &str) -> Proof {
    Proof {
        password: Secret::new(password),
        code: String::new(),
    }
}

fn at(folder: &tempfile::TempDir) -> Users {
    Users::new(
        Db::open(&folder.path().join("state.db"), Kind::State).unwrap(),
        Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()),
    )
}

async fn owned(folder: &tempfile::TempDir) -> (Users, Entered) {
    let users = at(folder);
    let link = users.new_setup_link(NOW).await.unwrap();
    let entered = users
        .set_up(link.expose(), Secret::new(RIGHT), from(1), NOW)
        .await
        .unwrap();
    (users, entered)
}

async fn knock(
    users: &Users,
    password: &str,
    from: Origin,
    now: UnixMs,
) -> Result<Entered, UserError> {
    match users
        .sign_in(OWNER, Secret::new(password), from, now)
        .await?
    {
        SignedIn::Whole(entered) => Ok(entered),
        SignedIn::Half(_) => panic!("no code is asked for"),
    }
}

/// Wrong passwords from many addresses, until the account is slowed for strangers.
async fn besiege(users: &Users) {
    for n in 0..24 {
        knock(users, "wrong", from(100 + n), NOW).await.unwrap_err();
    }
}

#[tokio::test]
async fn a2_strangers_lock_strangers_out_and_not_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let (users, entered) = owned(&folder).await;
    besiege(&users).await;
    let elsewhere = knock(&users, RIGHT, from(99), NOW).await;
    assert!(matches!(elsewhere, Err(UserError::SlowDown(_))));
    // The browser that has been in before comes in, even from an address that was slowed itself.
    for _ in 0..6 {
        knock(&users, "wrong", from(2), NOW).await.unwrap_err();
    }
    let mut home = from(2);
    home.device = Some(entered.device.clone());
    let again = knock(&users, RIGHT, home.clone(), NOW).await.unwrap();
    // Its cookie is another now; the one of before is a stranger's.
    let stolen = knock(&users, RIGHT, home, NOW).await;
    assert!(matches!(stolen, Err(UserError::SlowDown(_))));
    let mut home = from(2);
    home.device = Some(again.device);
    knock(&users, RIGHT, home, NOW).await.unwrap();
}

#[tokio::test]
async fn a2_what_is_counted_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (users, _) = owned(&folder).await;
    besiege(&users).await;
    drop(users);
    let users = at(&folder);
    let elsewhere = knock(&users, RIGHT, from(99), NOW).await;
    assert!(matches!(elsewhere, Err(UserError::SlowDown(_))));
    let later = NOW.plus(Duration::from_secs(901));
    knock(&users, RIGHT, from(99), later).await.unwrap();
}

#[tokio::test]
async fn a2_tries_sent_at_once_are_counted_before_the_password_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let (users, _) = owned(&folder).await;
    let tries = (0..12).map(|_| knock(&users, "wrong", from(7), NOW));
    let answers = futures_util::future::join_all(tries).await;
    let looked_at = answers
        .iter()
        .filter(|a| matches!(a, Err(UserError::WrongPassword)))
        .count();
    assert_eq!(looked_at, 5);
}

#[tokio::test]
async fn a2_links_are_not_to_be_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let (users, _) = owned(&folder).await;
    for _ in 0..5 {
        let wrong = users.link_is_for("guess", &from(7), NOW).await;
        assert!(matches!(wrong, Err(UserError::LinkInvalid)));
    }
    let wrong = users.link_is_for("guess", &from(7), NOW).await;
    assert!(matches!(wrong, Err(UserError::SlowDown(_))));
}

#[tokio::test]
async fn a2_a_confirmation_is_fresh_under_another_cookie() {
    let folder = tempfile::tempdir().unwrap();
    let (users, entered) = owned(&folder).await;
    let later = NOW.plus(Duration::from_secs(3_600));
    let before = entered.session.expose();
    let session = users.session(before, later).await.unwrap().unwrap();
    assert!(!is_fresh(session.confirmed, later));
    let wrong = users
        .confirm(session.user, before, proof("wrong"), &from(1), later)
        .await;
    assert!(matches!(wrong, Err(UserError::WrongPassword)));
    let after = users
        .confirm(session.user, before, proof(RIGHT), &from(1), later)
        .await
        .unwrap();
    assert!(users.session(before, later).await.unwrap().is_none());
    let session = users.session(after.expose(), later).await.unwrap().unwrap();
    assert!(is_fresh(session.confirmed, later));
}

#[tokio::test]
async fn a2_a_stolen_session_cannot_guess_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let (users, entered) = owned(&folder).await;
    let token = entered.session.expose();
    let user = users.session(token, NOW).await.unwrap().unwrap().user;
    let thief = from(9);
    for _ in 0..5 {
        let wrong = users.confirm(user, token, proof("wrong"), &thief, NOW);
        assert!(matches!(wrong.await, Err(UserError::WrongPassword)));
    }
    let slowed = users.confirm(user, token, proof(RIGHT), &thief, NOW);
    assert!(matches!(slowed.await, Err(UserError::SlowDown(_))));
    let password = users.change_password(
        (user, token),
        proof(RIGHT),
        Secret::new("another four words"),
        &thief,
        NOW,
    );
    assert!(matches!(password.await, Err(UserError::SlowDown(_))));
}

#[tokio::test]
async fn a2_a_reset_ends_sessions_and_lets_the_owner_in_during_a_siege() {
    let folder = tempfile::tempdir().unwrap();
    let (users, entered) = owned(&folder).await;
    besiege(&users).await;
    let link = users.new_setup_link(NOW).await.unwrap();
    let session = entered.session.expose();
    assert!(users.session(session, NOW).await.unwrap().is_none());
    let new = users
        .set_up(
            link.expose(),
            Secret::new("another four words"),
            from(99),
            NOW,
        )
        .await
        .unwrap();
    users.sign_out(new.session.expose()).await.unwrap();
    let anywhere = knock(&users, "another four words", from(98), NOW).await;
    assert!(anywhere.is_ok(), "{anywhere:?}");
}

#[tokio::test]
async fn a2_ending_a_session_makes_its_browser_a_stranger() {
    let folder = tempfile::tempdir().unwrap();
    let (users, entered) = owned(&folder).await;
    let session = users.session(entered.session.expose(), NOW).await.unwrap();
    let user = session.unwrap().user;
    let mark = users.sessions(user, NOW).await.unwrap()[0].mark.clone();
    users
        .end_session(user, &mark, By::the_box("the box"), NOW)
        .await
        .unwrap();
    besiege(&users).await;
    let mut home = from(1);
    home.device = Some(entered.device);
    let refused = knock(&users, RIGHT, home, NOW).await;
    assert!(matches!(refused, Err(UserError::SlowDown(_))));
}

/// Argon2 takes its time. What ended every session while it was at work must not let one in afterwards.
#[tokio::test]
async fn a2_a_sign_in_does_not_outlive_a_password_that_changed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (users, entered) = owned(&folder).await;
    let account = async || {
        let found = users.db.read(|c| store::account_by_name(c, OWNER)).await;
        found.unwrap()
    };
    let checked = async || {
        let password = Secret::new(RIGHT);
        let (there, account) = (from(2), account().await);
        let checked = users.check(OWNER, account, (password, false), &there, NOW);
        checked.await.unwrap()
    };
    let (whole, counted) = checked().await;
    let (half, _) = checked().await;
    let user = whole.user;
    let token = entered.session.expose();
    let new = Secret::new("five words are enough too");
    users
        .change_password((user, token), proof(RIGHT), new, &from(1), NOW)
        .await
        .unwrap();
    let late = users.come_in(whole, from(2), &counted, NOW).await;
    assert!(matches!(late, Err(UserError::WrongPassword)), "{late:?}");
    let late = users.begin_half(half, NOW).await;
    assert!(matches!(late, Err(UserError::WrongPassword)), "{late:?}");
    assert_eq!(users.sessions(user, NOW).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a6_strangers_do_not_make_a_long_line_of_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let (users, entered) = owned(&folder).await;
    let line = users.queues[0].clone();
    let all = line.try_acquire_many_owned(u32::try_from(QUEUE).unwrap());
    for _ in 0..30 {
        let busy = knock(&users, RIGHT, from(3), NOW).await;
        assert!(matches!(busy, Err(UserError::Busy)), "{busy:?}");
    }
    // Who is known does not stand in their line.
    let mut home = from(1);
    home.device = Some(entered.device);
    assert!(knock(&users, RIGHT, home, NOW).await.is_ok());
    drop(all);
    // None of these counts as a wrong try.
    assert!(knock(&users, RIGHT, from(3), NOW).await.is_ok());
}

/// It would be good for as long as the clock was ahead, and two weeks more.
#[tokio::test]
async fn n7_a_session_begun_while_the_clock_was_ahead_is_over_when_it_is_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let (users, _) = owned(&folder).await;
    let hours = |n: u64| NOW.plus(Duration::from_secs(n * 3600));
    let ahead = hours(365 * 24);
    let year = knock(&users, RIGHT, from(2), ahead).await.unwrap();
    let of = async |entered: &Entered, now| {
        let found = users.session(entered.session.expose(), now).await;
        found.unwrap()
    };
    let user = of(&year, ahead).await.expect("by that clock it is").user;
    assert!(of(&year, NOW).await.is_none());
    assert!(users.sessions(user, NOW).await.unwrap().is_empty());
    // An hour signs nobody out.
    let hour = knock(&users, RIGHT, from(3), hours(1)).await.unwrap();
    assert!(of(&hour, NOW).await.is_some());
    assert_eq!(users.sessions(user, NOW).await.unwrap().len(), 1);
    // And nothing of the other is left to come back with its time.
    assert!(of(&year, ahead).await.is_none());
}

/// The same of a link: what was to be good for an hour is not good for a year and an hour.
#[tokio::test]
async fn n7_a_link_made_while_the_clock_was_ahead_opens_nothing_when_it_is_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let (users, _) = owned(&folder).await;
    let hours = |n: u64| NOW.plus(Duration::from_secs(n * 3600));
    let ahead = hours(365 * 24);
    let whose = async |link: &Secret, now| users.whose_link(link.expose(), now).await.unwrap();
    let year = users.new_setup_link(ahead).await.unwrap();
    assert!(whose(&year, ahead).await.is_some());
    assert_eq!(whose(&year, NOW).await, None);
    let hour = users.new_setup_link(hours(1)).await.unwrap();
    assert!(whose(&hour, NOW).await.is_some());
}
