//! Jobs: their lines stream, they run once, they are found again, and they are dead when they are said to be.

use crate::rig::*;

#[tokio::test]
async fn f4_a_job_streams_its_lines_and_never_runs_twice() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        // It sleeps for longer than a busy machine takes to follow its lines.
        let spec = counting(
            "deploy-1-release",
            "echo ran >> /data/count; echo early; echo why >&2; sleep 12; wc -l < /data/count; exit 4",
        );
        let (end, lines) = daemon.job(spec.clone()).await.unwrap();
        assert_eq!(end.exit.code, 4);
        assert_eq!(end.errors, ["why"]);
        let at = |text: &str| lines.iter().find(|l| l.1 == text).unwrap().0;
        assert!(at("1") - at("early") > SECOND, "{lines:?}");
        daemon.stop().await;
        let second = m.daemon().await;
        let (again, _) = second.job(spec).await.unwrap();
        assert_eq!(again, end, "the kept result");
        m.gets_rid_of_containers().await;
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_job_is_found_again_after_the_daemon_was_away() {
    on_a_machine(|m| async move {
        let first = Arc::new(m.daemon().await);
        let script = "echo one; sleep 4; echo two; exit 5";
        let spec = shell(Kind::Job, "deploy-2-release", script);
        let (daemon, running) = (first.clone(), spec.clone());
        let work = tokio::spawn(async move { daemon.job(running).await });
        first.has_started().await;
        work.abort();
        drop(work.await);
        Arc::into_inner(first).unwrap().stop().await;
        let second = m.daemon().await;
        let (end, lines) = second.job(spec).await.unwrap();
        assert_eq!(end.exit.code, 5);
        let lines: Vec<_> = lines.into_iter().map(|l| l.1).collect();
        assert_eq!(lines, ["one", "two"]);
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f4_a_cancelled_or_late_job_is_dead_when_it_says_so() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let cancel = CancellationToken::new();
        let spec = shell(Kind::Job, "long-1", "sleep 1000");
        let work = daemon
            .supervisor
            .run_job(spec, PATIENCE, |_| (), cancel.clone());
        let (ended, ()) = tokio::join!(work, async {
            daemon.has_started().await;
            cancel.cancel();
        });
        let error = ended.unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
        m.has_no_container().await;
        let spec = shell(Kind::Job, "long-2", "sleep 1000");
        let late = CancellationToken::new();
        let work = daemon.supervisor.run_job(spec, SECOND, |_| (), late);
        let error = work.await.unwrap_err();
        assert!(error.to_string().contains("within 1 s"), "{error}");
        m.has_no_container().await;
        daemon.stop().await;
    })
    .await;
}
