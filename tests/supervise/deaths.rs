//! Replicas that hang or die: found out, replaced beside a sibling that is well, and told about.

use freehold::base::protocol::Protocol;
use freehold::supervise::State;

use crate::rig::*;

/// A replica of one process whose check is content with a connection.
fn one_of(name: &str) -> Spec {
    let mut spec = web(name);
    (spec.process, spec.release) = (Some("web".into()), Some(1));
    spec.health = Health::Tcp;
    spec
}

/// Stopped, it takes connections and answers nothing: its check does not tell. What the edge does when a request waits for
/// it is done here by hand.
#[tokio::test]
async fn n3_a_replica_that_hangs_is_found_out_and_replaced_and_its_sibling_is_left_alone() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let (row, live) = daemon.ready(one_of("tasks-web-v1-1")).await;
        let (other, sibling) = daemon.ready(one_of("tasks-web-v1-2")).await;
        let id = live.container_id.clone().unwrap();
        m.engine.kill_container(&id, "SIGSTOP").await.unwrap();
        let hung = Instant::now();
        let address = live.address.unwrap();
        daemon.supervisor.doubt(address, Protocol::Http1);
        // A doubt about the one that is well is settled by asking it.
        let well = sibling.address.unwrap();
        daemon.supervisor.doubt(well, Protocol::Http1);
        let ill = daemon
            .until(row, "the hung one's check to fail", |l| {
                matches!(l.state, State::Unhealthy(_))
            })
            .await;
        let noticed = hung.elapsed();
        // It is asked for as long as an answer may take, ten seconds; its own check would never tell.
        assert!(noticed < 45 * SECOND, "noticed after {noticed:?}");
        let State::Unhealthy(why) = ill.state else {
            panic!("{:?}", ill.state);
        };
        assert!(why.starts_with("no answer within"), "{why}");
        let back = daemon
            .until(row, "the replica", |l| {
                l.is_healthy() && l.started != live.started
            })
            .await;
        println!("noticed after {noticed:?}, back after {:?}", hung.elapsed());
        assert!(fetch(&back).await.ends_with("ok\n"));
        assert_eq!(back.container_id.as_deref(), Some(id.as_str()));
        let still = daemon.until(other, "health", Live::is_healthy).await;
        assert_eq!(still.started, sibling.started);
        let deaths = daemon.supervisor.deaths(row);
        assert_eq!(deaths.len(), 1, "{deaths:?}");
        assert_eq!((&deaths[0].exit, deaths[0].in_a_row), (&None, 1));
        let events = daemon.events().await;
        let replaced = events.iter().any(|(kind, words)| {
            kind == "container.replaced" && words.contains("no answer within")
        });
        assert!(replaced, "{events:?}");
        daemon.stop().await;
    })
    .await;
}

/// Its first answer comes at once, each later one after longer than a check waits.
const SLOW: &str = r#"mkdir -p /www/cgi-bin; cd /www/cgi-bin
echo '#!/bin/sh
[ -e /asked ] && sleep 7
touch /asked
echo "Content-Type: text/plain"
echo
echo ok' > health; chmod +x health; exec httpd -f -p 3000 -h /www"#;

/// The only one of its process: it is told, has the time of two answers, and is back. The saboteur beside it is as ill, but
/// slow: whoever waits for it gets an answer, and it is left alone.
#[tokio::test]
async fn n3_an_only_replica_that_hangs_is_told_and_then_replaced_and_one_that_is_slow_is_not() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let (row, live) = daemon.ready(one_of("tasks-web-v1-1")).await;
        let mut slow = web("tasks-slow-v1-1");
        slow.command = Some(words(&["sh", "-c", SLOW]));
        (slow.process, slow.release) = (Some("slow".into()), Some(1));
        slow.health = Health::Http {
            path: "/cgi-bin/health".into(),
            protocol: Protocol::Http1,
        };
        let (slow, alive) = daemon.ready(slow).await;
        let is_ill = |l: &Live| matches!(l.state, State::Unhealthy(_));
        daemon
            .until(slow, "the slow one's check to fail", is_ill)
            .await;

        let id = live.container_id.clone().unwrap();
        m.engine.kill_container(&id, "SIGSTOP").await.unwrap();
        let hung = Instant::now();
        daemon
            .supervisor
            .doubt(live.address.unwrap(), Protocol::Http1);
        let ill = daemon.until(row, "the hung one's check to fail", is_ill);
        assert_eq!(ill.await.started, live.started, "it is told first");
        let back = daemon
            .until(row, "the replica", |l| {
                l.is_healthy() && l.started != live.started
            })
            .await;
        let after = hung.elapsed();
        println!("back after {after:?}");
        // Twice as long as an answer may take, and a little more.
        assert!(after >= 40 * SECOND, "replaced after {after:?}");
        assert!(fetch(&back).await.ends_with("ok\n"));
        assert_eq!(back.container_id.as_deref(), Some(id.as_str()));
        let deaths = daemon.supervisor.deaths(row);
        assert_eq!(deaths.len(), 1, "{deaths:?}");
        assert_eq!((&deaths[0].exit, deaths[0].in_a_row), (&None, 1));
        let why = &deaths[0].why;
        assert!(
            why.starts_with("gave no answer at all (no answer within"),
            "{why}"
        );
        for (of, what) in [
            ("container.unhealthy", "tasks-web-v1-1 runs, but"),
            (
                "container.replaced",
                "tasks-web-v1-1 gives no answer at all",
            ),
        ] {
            eventually(what, async || {
                let events = daemon.events().await;
                let mut all = events.iter();
                all.any(|(kind, words)| kind == of && words.contains(what))
            })
            .await;
        }
        let still = daemon.until(slow, "its state", |_| true).await;
        assert_eq!(still.started, alive.started);
        assert!(daemon.supervisor.deaths(slow).is_empty());
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn n3_why_a_replica_died_is_kept_with_the_last_it_wrote() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let mut spec = one_of("tasks-web-v1-1");
        let script = format!("for n in $(seq 30); do echo line $n; done; {SERVE}");
        spec.command = Some(words(&["sh", "-c", &script]));
        let (row, live) = daemon.ready(spec).await;
        let id = live.container_id.clone().unwrap();
        m.engine.kill_container(&id, "SIGKILL").await.unwrap();
        let mut greedy = shell(
            Kind::Replica,
            "tasks-greedy-v1-1",
            "echo eats all there is >&2; exec tail /dev/zero",
        );
        greedy.memory_bytes = Some(16 << 20);
        let greedy = daemon.supervisor.want(greedy).await.unwrap().id;
        for (row, words, line) in [
            (row, "was killed by SIGKILL (exit code 137)", "line 30"),
            (greedy, "ran out of its memory limit", "eats all there is"),
        ] {
            eventually(words, async || {
                let deaths = daemon.supervisor.deaths(row);
                // Both the death and its last lines.
                let newest = deaths.first();
                newest.is_some_and(|d| d.why.contains(words) && !d.lines.is_empty())
            })
            .await;
            let deaths = daemon.supervisor.deaths(row);
            let last = deaths.last().unwrap();
            assert_eq!(last.lines.last().unwrap(), line);
            assert!(last.lines.len() <= 20, "{last:?}");
            assert_eq!(last.exit.as_ref().unwrap().signal(), Some(9));
        }
        daemon.stop().await;
    })
    .await;
}
