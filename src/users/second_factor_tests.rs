//! The second factor: set up, asked for, used up, lost.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::base::clock::UnixMs;
use crate::db::Kind;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const RIGHT: &str = "four words are enough";

fn from() -> Origin {
    Origin {
        address: Some(IpAddr::from([192, 0, 2, 1])),
        agent: "test".into(),
        device: None,
        host: "panel.test".into(),
    }
}

fn later(steps: u64) -> UnixMs {
    NOW.plus(Duration::from_secs(30 * steps))
}

/// An owner whose second factor is on.
struct World {
    users: Users,
    _folder: tempfile::TempDir,
    user: i64,
    session: Secret,
    key: Vec<u8>,
    codes: Vec<Secret>,
}

/// What an authenticator shows.
fn shown(key: &[u8], now: UnixMs) -> String {
    totp::code(key, now.0 / 30_000)
}

/// The key of an offer, as an authenticator reads it.
fn read(offer: &Offer) -> Vec<u8> {
    let (mut bits, mut held, mut key) = (0, 0u32, Vec::new());
    for c in offer.key.expose().bytes() {
        let letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
            .iter()
            .position(|l| *l == c);
        held = held << 5 | u32::try_from(letter.unwrap()).unwrap();
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            key.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    key
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let users = Users::new(db, Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()));
        let link = users.new_setup_link(NOW).await.unwrap();
        let password = Secret::new(RIGHT);
        let entered = users
            .set_up(link.expose(), password, from(), NOW)
            .await
            .unwrap();
        let session = entered.session;
        let user = users
            .session(session.expose(), NOW)
            .await
            .unwrap()
            .unwrap()
            .user;
        users.offer_second_factor(user, NOW).await.unwrap();
        let offer = users
            .offered_second_factor(user, "Freehold", NOW)
            .await
            .unwrap();
        let key = read(&offer.unwrap());
        let mine = (user, session.expose());
        let wrong = users
            .activate_second_factor(mine, "000000", &from(), NOW)
            .await;
        assert!(matches!(wrong, Err(UserError::WrongCode)));
        let code = shown(&key, NOW);
        let codes = users
            .activate_second_factor(mine, &code, &from(), NOW)
            .await
            .unwrap();
        Self {
            users,
            _folder: folder,
            user,
            session,
            key,
            codes,
        }
    }

    async fn half(&self, now: UnixMs) -> Secret {
        let password = Secret::new(RIGHT);
        match self
            .users
            .sign_in(OWNER, password, from(), now)
            .await
            .unwrap()
        {
            SignedIn::Half(half) => half,
            SignedIn::Whole(_) => panic!("no code was asked for"),
        }
    }

    async fn finish(&self, half: &Secret, code: &str, now: UnixMs) -> Result<Entered, UserError> {
        self.users
            .finish_sign_in(half.expose(), code, from(), now)
            .await
    }
}

#[tokio::test]
async fn a2_a_code_is_asked_for_after_the_password_and_works_once() {
    let world = World::new().await;
    let half = world.half(later(1)).await;
    let as_session = world.users.session(half.expose(), later(1)).await.unwrap();
    assert!(as_session.is_none(), "half of a sign-in is no session");
    // The code that turned it on is used up.
    let used = world.finish(&half, &shown(&world.key, NOW), later(1)).await;
    assert!(matches!(used, Err(UserError::WrongCode)));
    let code = shown(&world.key, later(1));
    let entered = world.finish(&half, &code, later(1)).await.unwrap();
    let session = world
        .users
        .session(entered.session.expose(), later(1))
        .await;
    assert!(session.unwrap().is_some());
    let again = world.half(later(1)).await;
    let replayed = world.finish(&again, &code, later(1)).await;
    assert!(matches!(replayed, Err(UserError::WrongCode)));
    let over = world
        .finish(&half, &shown(&world.key, later(2)), later(2))
        .await;
    assert!(matches!(over, Err(UserError::HalfWayOver)));
}

#[tokio::test]
async fn a2_half_a_sign_in_ends_by_time_and_by_wrong_codes() {
    let world = World::new().await;
    let half = world.half(NOW).await;
    let late = NOW.plus(Duration::from_secs(300));
    let over = world.finish(&half, &shown(&world.key, late), late).await;
    assert!(matches!(over, Err(UserError::HalfWayOver)));
    let half = world.half(late).await;
    let mut now = late;
    for _ in 0..5 {
        now = now.plus(Duration::from_secs(10));
        let wrong = world.finish(&half, "000000", now).await;
        assert!(matches!(wrong, Err(UserError::WrongCode)));
    }
    let now = now.plus(Duration::from_secs(10));
    let over = world.finish(&half, &shown(&world.key, now), now).await;
    assert!(matches!(
        over,
        Err(UserError::HalfWayOver | UserError::SlowDown(_))
    ));
}

/// Whoever knows the password cannot go on guessing codes by giving it again and again.
#[tokio::test]
async fn a2_the_right_password_opens_no_more_tries_at_the_code() {
    let world = World::new().await;
    let mut slowed = false;
    for _ in 0..12 {
        let password = Secret::new(RIGHT);
        match world.users.sign_in(OWNER, password, from(), later(3)).await {
            Ok(SignedIn::Half(half)) => {
                world.finish(&half, "000000", later(3)).await.unwrap_err();
            }
            Err(UserError::SlowDown(_)) => slowed = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(slowed);
}

#[tokio::test]
async fn a2_a_recovery_code_lets_in_once() {
    let world = World::new().await;
    let code = world.codes[3].expose();
    let half = world.half(later(3)).await;
    world
        .finish(&half, &code.to_uppercase(), later(3))
        .await
        .unwrap();
    let left = world
        .users
        .second_factor(world.user)
        .await
        .unwrap()
        .codes_left;
    assert_eq!(left, 9);
    let half = world.half(later(3)).await;
    let again = world.finish(&half, code, later(3)).await;
    assert!(matches!(again, Err(UserError::WrongCode)));
    // New ones take the place of all others.
    world
        .users
        .new_recovery_codes(world.user, later(3))
        .await
        .unwrap();
    let old = world.finish(&half, world.codes[4].expose(), later(3)).await;
    assert!(matches!(old, Err(UserError::WrongCode)));
}

#[tokio::test]
async fn a2_confirming_asks_for_the_code_too() {
    let world = World::new().await;
    let confirm = async |code: &str| {
        let proof = Proof {
            password: Secret::new(RIGHT),
            code: code.to_owned(),
        };
        let token = world.session.expose();
        world
            .users
            .confirm(world.user, token, proof, &from(), later(2))
            .await
    };
    assert!(matches!(confirm("").await, Err(UserError::CodeNeeded)));
    assert!(matches!(confirm("000000").await, Err(UserError::WrongCode)));
    confirm(&shown(&world.key, later(2))).await.unwrap();
}

#[tokio::test]
async fn a2_turning_it_on_ends_the_sessions_that_came_in_without() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let users = Users::new(db, Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()));
    let link = users.new_setup_link(NOW).await.unwrap();
    let first = users
        .set_up(link.expose(), Secret::new(RIGHT), from(), NOW)
        .await
        .unwrap();
    let second = users
        .sign_in(OWNER, Secret::new(RIGHT), from(), NOW)
        .await
        .unwrap();
    let SignedIn::Whole(second) = second else {
        panic!("no code is asked for yet");
    };
    let user = users
        .session(second.session.expose(), NOW)
        .await
        .unwrap()
        .unwrap()
        .user;
    users.offer_second_factor(user, NOW).await.unwrap();
    let offer = users
        .offered_second_factor(user, "Freehold", NOW)
        .await
        .unwrap();
    let code = shown(&read(&offer.unwrap()), NOW);
    let mine = (user, second.session.expose());
    users
        .activate_second_factor(mine, &code, &from(), NOW)
        .await
        .unwrap();
    assert!(
        users
            .session(first.session.expose(), NOW)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        users
            .session(second.session.expose(), NOW)
            .await
            .unwrap()
            .is_some()
    );
    // The key is not shown any more, and no other takes its place unasked.
    let shown = users
        .offered_second_factor(user, "Freehold", NOW)
        .await
        .unwrap();
    assert!(shown.is_none());
    let again = users.offer_second_factor(user, NOW).await;
    assert!(matches!(again, Err(UserError::SecondFactor(_))));
}

#[tokio::test]
async fn a2_a_new_link_turns_it_off_and_so_does_an_admin() {
    let world = World::new().await;
    let half = world.half(later(2)).await;
    let link = world.users.new_setup_link(later(2)).await.unwrap();
    let session = world.session.expose();
    assert!(
        world
            .users
            .session(session, later(2))
            .await
            .unwrap()
            .is_none()
    );
    let on = world.users.second_factor(world.user).await.unwrap();
    assert!(
        on.active.is_some(),
        "until the link is used, the old password needs its code"
    );
    let new = Secret::new("another four words");
    world
        .users
        .set_up(link.expose(), new, from(), later(2))
        .await
        .unwrap();
    let off = world.users.second_factor(world.user).await.unwrap();
    assert_eq!((off.active, off.codes_left), (None, 0));
    let over = world
        .finish(&half, &shown(&world.key, later(3)), later(3))
        .await;
    assert!(matches!(over, Err(UserError::HalfWayOver)));

    let world = World::new().await;
    world
        .users
        .remove_second_factor(OWNER, By::the_box("uid 0 on the box"), NOW)
        .await
        .unwrap();
    let password = Secret::new(RIGHT);
    let whole = world
        .users
        .sign_in(OWNER, password, from(), NOW)
        .await
        .unwrap();
    assert!(matches!(whole, SignedIn::Whole(_)));
    let none = world
        .users
        .remove_second_factor(OWNER, By::the_box("uid 0 on the box"), NOW)
        .await;
    assert!(matches!(none, Err(UserError::SecondFactor(_))));
}

#[tokio::test]
async fn a2_a_password_everybody_uses_is_refused_and_the_link_stays() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let users = Users::new(db, Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()));
    let link = users.new_setup_link(NOW).await.unwrap();
    for bad in ["password1234", "owner-owner-1", "panel.test.1"] {
        let refused = users
            .set_up(link.expose(), Secret::new(bad), from(), NOW)
            .await;
        assert!(matches!(refused, Err(UserError::PasswordRule(_))), "{bad}");
    }
    let taken = users
        .set_up(link.expose(), Secret::new(RIGHT), from(), NOW)
        .await;
    assert!(taken.is_ok());
}
