//! Balancing: bad replicas are left out and come back, requests go elsewhere within a budget, clients stay, caps hold.
//!
//! What a hung replica must not do is told here for any protocol; `h2c_replicas` tries it over HTTP/2.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use freehold::proxy::{Address, LeftOut, Protocol, Target, Traits, What};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{App, always, app, raw, read_head, refusing};
use crate::client::{Http1, Whole, get, post};
use crate::rig::{Rig, World, route, target, until, within};

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno";

/// Reads each request and closes without a word for as long as `dies` says so.
async fn dying(dies: impl Fn() -> bool + Clone + Send + 'static) -> App {
    raw(move |mut stream, _| {
        let dies = dies.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.starts_with("POST") {
                    let mut body = [0; 5];
                    stream.read_exact(&mut body).await.unwrap();
                }
                if dies() {
                    return;
                }
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

/// Reads and never answers.
async fn hung() -> App {
    raw(|mut stream, _| async move { while read_head(&mut stream).await.is_some() {} }).await
}

/// How the edge is to speak to an app.
pub type Speak = fn(SocketAddr) -> Arc<Target>;

fn rig_of(apps: &[&App]) -> Rig {
    rig_that(target, apps)
}

fn rig_that(speaks: Speak, apps: &[&App]) -> Rig {
    let targets: Vec<_> = apps.iter().map(|app| speaks(app.address)).collect();
    let targets: Vec<_> = targets.iter().collect();
    Rig::start(World::of([route("tasks.test", &targets)]))
}

fn left_out(rig: &Rig, app: &App) -> LeftOut {
    let key = format!("t:{}", app.address);
    let all = rig.edge.stats().left_out;
    all.into_iter().find(|(of, _)| **of == *key).unwrap().1
}

pub async fn ask(client: &mut Http1, request: http::Request<crate::client::Body>) -> Whole {
    client.ask(request).await.unwrap()
}

async fn statuses(client: &mut Http1, posts: bool, count: usize) -> Vec<u16> {
    let mut all = Vec::new();
    for _ in 0..count {
        let request = match posts {
            true => post("https://tasks.test/", "order"),
            false => get("https://tasks.test/"),
        };
        all.push(ask(client, request).await.status.as_u16());
    }
    all
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|s| **s == status).count()
}

#[tokio::test]
async fn e5_a_get_whose_first_and_second_replica_die_reaches_the_third() {
    let deaths = Arc::new(AtomicUsize::new(0));
    let dies = {
        let deaths = deaths.clone();
        move || deaths.fetch_add(1, SeqCst) < 2
    };
    let (one, two, three) = (
        dying(dies.clone()).await,
        dying(dies.clone()).await,
        dying(dies).await,
    );
    let rig = rig_of(&[&one, &two, &three]);
    let mut client = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(statuses(&mut client, false, 1).await, [200]);
    assert_eq!(deaths.swap(0, SeqCst), 3);
    // What may have arrived and does more than read is nobody else's.
    assert_eq!(statuses(&mut client, true, 1).await, [502]);
    assert_eq!(deaths.load(SeqCst), 1);
}

/// The saboteur: two of three die, of which only one may be left out, so the other's errors go on.
#[tokio::test]
async fn e5_a_replica_that_dies_on_requests_is_left_out_but_never_more_than_half_are() {
    let (bad, worse) = (dying(|| true).await, dying(|| true).await);
    let (well, fine) = (dying(|| false).await, dying(|| false).await);
    let errors = async |apps: &[&App]| {
        let rig = rig_of(apps);
        let mut client = Http1::tls(&rig, "tasks.test").await;
        let all = statuses(&mut client, true, 200).await;
        let out = apps
            .iter()
            .filter(|app| left_out(&rig, app).times > 0)
            .count();
        (count(&all, 502), out)
    };
    let (few, out) = errors(&[&bad, &well, &fine]).await;
    assert!(
        (3..=8).contains(&few) && out == 1,
        "{few} errors, {out} out"
    );
    let (many, out) = errors(&[&bad, &worse, &well]).await;
    assert!(many > 40 && out >= 1, "{many} errors, {out} out");
}

#[tokio::test]
async fn e5_a_replica_that_is_well_again_comes_back() {
    for _ in 0..5 {
        if comes_back().await {
            return;
        }
    }
    panic!("the machine had no moment for it");
}

/// False: while it was out, which is for a second, hardly anybody asked.
async fn comes_back() -> bool {
    let sick = Arc::new(AtomicBool::new(true));
    let dies = {
        let sick = sick.clone();
        move || sick.load(SeqCst)
    };
    let (app, well) = (dying(dies).await, dying(|| false).await);
    let rig = rig_of(&[&app, &well]);
    let mut client = Http1::tls(&rig, "tasks.test").await;
    while left_out(&rig, &app).times == 0 {
        statuses(&mut client, false, 1).await;
    }
    let (before, mut answers) = (app.connections(), 0);
    loop {
        let all = statuses(&mut client, true, 1).await;
        let connections = app.connections();
        let out = left_out(&rig, &app);
        // Out for the first time afterwards, then also meanwhile.
        if !out.now || out.times > 1 {
            break;
        }
        assert_eq!((all[0], connections), (200, before), "it is left out");
        answers += 1;
    }
    if answers <= 5 {
        return false;
    }
    let before = app.connections();
    sick.store(false, SeqCst);
    let back = async {
        while app.connections() == before {
            let all = statuses(&mut client, true, 10).await;
            assert_eq!(count(&all, 200), 10);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(Duration::from_secs(60), "it comes back", back).await;
    assert!(!left_out(&rig, &app).now);
    true
}

/// The saboteur: with a budget that hundreds of good requests have just filled, the same dead group gets each request twice.
#[tokio::test]
async fn e5_a_dead_group_of_replicas_gets_a_fifth_more_than_its_load() {
    const REQUESTS: usize = 200;
    const FEW: usize = 50;
    let attempts = async |good: usize, bad: usize| {
        let seen = Arc::new(AtomicUsize::new(0));
        let dies = {
            let seen = seen.clone();
            move || seen.fetch_add(1, SeqCst) >= good
        };
        let (one, two) = (dying(dies.clone()).await, dying(dies).await);
        let rig = rig_of(&[&one, &two]);
        let mut client = Http1::tls(&rig, "tasks.test").await;
        assert_eq!(count(&statuses(&mut client, false, good).await, 200), good);
        seen.store(good, SeqCst);
        let began = Instant::now();
        // A connection that was kept dies for nothing.
        tokio::time::sleep(Duration::from_millis(1_600)).await;
        let all = statuses(&mut client, false, bad).await;
        assert_eq!(count(&all, 502), bad);
        (
            seen.load(SeqCst) - good,
            began.elapsed().as_secs() as usize + 1,
        )
    };
    let (dead, seconds) = attempts(0, REQUESTS).await;
    let most = REQUESTS + REQUESTS / 5 + 5 + seconds;
    assert!(
        (REQUESTS..=most).contains(&dead),
        "{dead} of at most {most}"
    );
    // What they earned is lost in ten seconds: on a machine that takes as long for them, another time.
    let mut rich = 0;
    for _ in 0..5 {
        rich = attempts(800, FEW).await.0;
        if rich > FEW * 19 / 10 {
            return;
        }
    }
    panic!("{rich}");
}

/// Ten seconds of silence, while others answer, and the reads that wait for it go elsewhere. The saboteur is the POST: what
/// does more than read stays, and would have waited for a minute.
#[tokio::test]
async fn n3_a_hung_replica_is_left_out_and_its_unanswered_reads_go_elsewhere_at_that_moment() {
    let (sick, one, two) = (hung().await, app("one").await, app("two").await);
    reads_leave_what_is_silent(target, [&sick, &one, &two]).await;
}

/// The first of the three is hung.
pub async fn reads_leave_what_is_silent(speaks: Speak, [sick, one, two]: [&App; 3]) {
    let rig = Arc::new(rig_that(speaks, &[sick, one, two]));
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let rig = rig.clone();
        clients.push(tokio::spawn(async move {
            let mut client = Http1::tls(&rig, "tasks.test").await;
            let (mut longest, mut failed) = (Duration::ZERO, 0);
            while began.elapsed() < Duration::from_secs(11) {
                let asked = Instant::now();
                let answer = ask(&mut client, get("https://tasks.test/slow?ms=20")).await;
                longest = longest.max(asked.elapsed());
                failed += usize::from(answer.status != 200);
            }
            (longest, failed)
        }));
    }
    // Each of these would find its way to the hung one and stay there.
    let mut unsafe_ones = Vec::new();
    for _ in 0..6 {
        let mut client = Http1::tls(&rig, "tasks.test").await;
        unsafe_ones.push(tokio::spawn(async move {
            ask(&mut client, post("https://tasks.test/slow?ms=1", "order")).await
        }));
    }
    until("it is left out", || left_out(&rig, sick).times > 0).await;
    let noticed = began.elapsed();
    assert!(
        (9_900..20_000).contains(&noticed.as_millis()),
        "after {noticed:?}"
    );
    let mut longest = Duration::ZERO;
    for client in clients {
        let (waited, failed) = client.await.unwrap();
        assert_eq!(failed, 0);
        longest = longest.max(waited);
    }
    println!("left out after {noticed:?}; the longest wait of a read was {longest:?}");
    assert!(
        longest > Duration::from_secs(8),
        "nobody waited for the hung one"
    );
    // Not the minute of one that stays.
    assert!(longest < noticed + Duration::from_secs(10), "{longest:?}");
    for waiting in unsafe_ones {
        if waiting.is_finished() {
            assert_eq!(waiting.await.unwrap().status, 200);
        } else {
            waiting.abort();
        }
    }
}

/// Where few ask, three in a row never come: the first one in vain has the control plane ask the replica itself.
#[tokio::test]
async fn n3_one_request_that_waits_in_vain_has_its_replica_looked_at() {
    let (sick, well) = (hung().await, app("well").await);
    let mut rig = rig_that(target, &[&sick, &well]);
    // Which of the two a request goes to is chance: one after another, until one has come to the hung one.
    let (asked, trouble) = loop {
        let mut client = Http1::tls(&rig, "tasks.test").await;
        let asked = Instant::now();
        let answer = ask(&mut client, get("https://tasks.test/slow?ms=1"));
        tokio::select! {
            trouble = within(Duration::from_secs(60), "a report", rig.failures.recv()) => break (asked, trouble),
            answer = answer => assert_eq!(answer.status, 200),
        }
    };
    let trouble = trouble.expect("the edge is there");
    assert!(asked.elapsed() > Duration::from_secs(8), "{trouble:?}");
    assert_eq!(trouble.address, Address::Tcp(sick.address));
    assert!(
        matches!(trouble.what, What::Silent(Protocol::Http1)),
        "{trouble:?}"
    );
    assert_eq!(left_out(&rig, &sick).times, 0, "one is too few for that");
}

/// As when its health check gives it up. The saboteur is the POST again.
#[tokio::test]
async fn n3_reads_leave_a_replica_that_is_given_up_and_nothing_else_does() {
    let (sick, well) = (hung().await, app("well").await);
    reads_leave_what_is_given_up(target, &sick, &well).await;
}

pub async fn reads_leave_what_is_given_up(speaks: Speak, sick: &App, well: &App) {
    for reads in [true, false] {
        let target_of_sick = speaks(sick.address);
        let targets = [&target_of_sick, &speaks(well.address)];
        let rig = Rig::start(World::of([route("tasks.test", &targets)]));
        // The one that does not find its way to the other.
        let mut waiting = loop {
            let mut client = Http1::tls(&rig, "tasks.test").await;
            let asked = tokio::spawn(async move {
                let request = match reads {
                    true => get("https://tasks.test/"),
                    false => post("https://tasks.test/", "order"),
                };
                ask(&mut client, request).await
            });
            until("it is answered, or waits for the hung one", || {
                asked.is_finished() || target_of_sick.in_flight() == 1
            })
            .await;
            if target_of_sick.in_flight() == 1 {
                // What is sent there has come by then.
                tokio::time::sleep(Duration::from_millis(800)).await;
                break asked;
            }
            assert_eq!(asked.await.unwrap().status, 200);
        };
        target_of_sick.leave();
        if reads {
            let answer = within(Duration::from_secs(30), "it goes elsewhere", waiting).await;
            assert_eq!(answer.unwrap().header("x-app"), "well");
        } else {
            let stays = tokio::time::timeout(Duration::from_secs(1), &mut waiting).await;
            assert!(stays.is_err(), "{stays:?}");
            waiting.abort();
        }
    }
}

#[tokio::test]
async fn n3_errors_are_passed_on_and_counted_and_five_in_a_row_leave_a_replica_out() {
    let (bad, well) = (always(BROKEN).await, always(OK).await);
    let rig = rig_of(&[&bad, &well]);
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let mut all = Vec::new();
    while left_out(&rig, &bad).times == 0 || all.len() < 50 {
        all.extend(statuses(&mut client, true, 1).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (errors, good) = (count(&all, 500), count(&all, 200));
    // A few more than five where the other did not answer meanwhile, and one each time it came back.
    assert!((5..=15).contains(&errors), "{all:?}");
    assert_eq!(errors + good, all.len(), "{all:?}");
    until("all are counted", || {
        rig.route_reading("tasks.test").classes == [0, good as u64, 0, 0, errors as u64]
    })
    .await;
    assert_eq!(left_out(&rig, &well), LeftOut::default());

    // The app that means it: nobody answers otherwise.
    let (one, two) = (always(BROKEN).await, always(BROKEN).await);
    let rig = rig_of(&[&one, &two]);
    let mut client = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(count(&statuses(&mut client, true, 100).await, 500), 100);
    assert_eq!(left_out(&rig, &one), LeftOut::default());
}

/// Takes so long for an answer, and knows how many it was asked at once.
pub async fn busy(pause: Duration) -> (App, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let told = most.clone();
    let app = raw(move |mut stream, _| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            while read_head(&mut stream).await.is_some() {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(pause).await;
                now.fetch_sub(1, SeqCst);
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (app, told)
}

pub fn capped(app: &App, cap: Option<u32>) -> Arc<Target> {
    let traits = Traits {
        cap,
        ..Traits::default()
    };
    Target::with(
        format!("t:{}", app.address),
        Address::Tcp(app.address),
        traits,
    )
}

pub async fn all_at_once(rig: &Rig, count: usize) -> Vec<Whole> {
    ask_at_once(connected(rig, count).await).await
}

async fn connected(rig: &Rig, count: usize) -> Vec<Http1> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Http1::tls(rig, "tasks.test").await);
    }
    clients
}

async fn ask_at_once(clients: Vec<Http1>) -> Vec<Whole> {
    let mut asking = tokio::task::JoinSet::new();
    for mut client in clients {
        asking.spawn(async move { ask(&mut client, get("https://tasks.test/")).await });
    }
    asking.join_all().await
}

/// Of two replicas one is at its cap and the other refuses. Who waits tries again at its pace, and wakes nobody for a place
/// that is none. No saboteur runs: waking at each refusal is a line of `Exchange`, and a switch for it would be in the code for
/// this test alone.
#[tokio::test]
async fn e5_a_replica_that_refuses_wakes_nobody_who_queues_for_another() {
    let (app, _) = busy(Duration::from_millis(1_500)).await;
    let (_nobody, dead) = refusing();
    let traits = Traits {
        cap: Some(1),
        ..Traits::default()
    };
    let refuses = Target::with("t:refuses", Address::Tcp(dead), traits);
    let targets = [&capped(&app, Some(1)), &refuses];
    let rig = Rig::start(World::of([route("tasks.test", &targets)]));
    let answers = all_at_once(&rig, 3).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    // Three requests of 1.5 s, one after another: some ten tries at the one that refuses. Woken by each other they are
    // thousands.
    let tries = rig
        .edge
        .stats()
        .targets
        .iter()
        .find_map(|(key, reading)| (**key == *"t:refuses").then_some(reading.requests));
    assert!(tries.is_some_and(|tries| tries < 100), "{tries:?}");
}

/// Were the next only woken by the clock, forty would take ten seconds. The saboteur: without a cap all come at once.
#[tokio::test]
async fn e5_a_replica_gets_no_more_than_its_cap_and_who_waits_is_woken_by_a_place() {
    let (app, most) = busy(Duration::from_millis(10)).await;
    let rig = Rig::start(World::of([route("tasks.test", &[&capped(&app, Some(1))])]));
    // Without their handshakes, which take a busy machine as long.
    let clients = connected(&rig, 40).await;
    let began = Instant::now();
    assert!(
        ask_at_once(clients)
            .await
            .iter()
            .all(|answer| answer.status == 200)
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(most.load(SeqCst), 1);

    let (one, ones_most) = busy(Duration::from_millis(50)).await;
    let (other, others_most) = busy(Duration::from_millis(50)).await;
    let targets = [&capped(&one, Some(2)), &capped(&other, Some(3))];
    let rig = Rig::start(World::of([route("tasks.test", &targets)]));
    assert!(
        all_at_once(&rig, 60)
            .await
            .iter()
            .all(|answer| answer.status == 200)
    );
    assert_eq!((ones_most.load(SeqCst), others_most.load(SeqCst)), (2, 3));

    let (slow, most) = busy(Duration::from_secs(1)).await;
    let rig = Rig::start(World::of([route("tasks.test", &[&capped(&slow, None)])]));
    all_at_once(&rig, 40).await;
    assert!(most.load(SeqCst) > 10);
}

#[tokio::test]
async fn e5_who_gets_no_place_in_time_gets_503_with_retry_after() {
    // So long that none of them can come when the place is free again.
    let (app, _) = busy(Duration::from_secs(3)).await;
    let mut spec = route("tasks.test", &[&capped(&app, Some(1))]);
    spec.held_for = Some(Duration::from_millis(300));
    let rig = Rig::start(World::of([spec]));
    let answers = all_at_once(&rig, 5).await;
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 503)
        .collect();
    assert_eq!(refused.len(), 4);
    assert!(
        refused
            .iter()
            .all(|answer| answer.header("retry-after") == "5")
    );
    assert!(
        refused[0]
            .text()
            .contains("as many requests as it takes at once")
    );
    // The place is free again, and nobody waits.
    assert_eq!(all_at_once(&rig, 1).await[0].status, 200);
}
