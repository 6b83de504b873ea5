//! Why a container does not become healthy, told so that a person knows what to do.

use freehold::supervise::Cause;

use crate::rig::*;

#[tokio::test]
async fn f4_a_port_mismatch_is_told_with_ports_answer_and_log() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let mut spec = web("tasks-web-v2-1");
        spec.command = Some(words(&[
            "sh",
            "-c",
            "echo listening on 8080; mkdir /www; exec httpd -f -p 8080 -h /www",
        ]));
        let row = daemon.supervisor.want(spec).await.unwrap();
        let story = daemon
            .supervisor
            .wait_ready(row.id, 40 * SECOND)
            .await
            .unwrap_err();
        assert!(matches!(story.cause, Cause::Deadline(_)), "{story}");
        let text = story.to_string();
        for part in [
            "GET http://10.83.",
            ":3000/healthz",
            "connection refused",
            "Listening ports in the container: 8080",
            "  listening on 8080",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f4_a_container_that_exits_is_told_at_once() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let mut spec = web("tasks-web-v3-1");
        spec.command = Some(words(&["sh", "-c", "echo no database >&2; exit 3"]));
        let begun = Instant::now();
        let row = daemon.supervisor.want(spec).await.unwrap();
        let story = daemon
            .supervisor
            .wait_ready(row.id, 3 * PATIENCE)
            .await
            .unwrap_err();
        assert!(begun.elapsed() < 2 * PATIENCE, "told at the deadline only");
        let text = story.to_string();
        assert!(text.contains("ended with exit code 3"), "{text}");
        assert!(text.contains("  no database"), "{text}");
        for (name, change, part) in [
            ("missing", "fhtest/no-such-image:9", "no-such-image"),
            ("command", "busybox:latest", "no-such-program"),
        ] {
            let mut spec = web(&format!("tasks-web-{name}-1"));
            spec.image = change.into();
            spec.command = Some(vec!["no-such-program".into()]);
            let row = daemon.supervisor.want(spec).await.unwrap();
            let story = daemon
                .supervisor
                .wait_ready(row.id, PATIENCE)
                .await
                .unwrap_err();
            assert!(matches!(story.cause, Cause::Refused(_)), "{story:?}");
            assert!(story.to_string().contains(part), "{story}");
        }
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_crash_loop_backs_off_and_is_said() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let mut spec = shell(Kind::Replica, "tasks-worker-v1-1", "sleep 0.2; exit 1");
        spec.process = Some("worker".into());
        let row = daemon.supervisor.want(spec).await.unwrap();
        daemon
            .until(row.id, "the third failure", |l| l.restarts >= 3)
            .await;
        let events = daemon.events().await;
        let is_loop = |(kind, _): &&(String, String)| kind == "container.crash_loop";
        // The first that says so; by now a fourth failure may have been told.
        let said = events
            .iter()
            .rfind(is_loop)
            .unwrap_or_else(|| panic!("{events:?}"));
        assert!(said.1.contains("within 4 s"), "{said:?}");
        daemon.stop().await;
    })
    .await;
}
