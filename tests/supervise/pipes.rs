//! Jobs with their input or output in a pipe: whole to the last byte, dead when nobody listens any more.

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use crate::rig::*;

#[tokio::test]
async fn f6_piped_output_is_whole_though_its_reader_stalls_at_the_end() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        // The reader stalls for longer than the engine waits, with so much left
        // that the process has just ended and the engine's pipe is full. Without
        // the reader's haste at that moment two or three of these come out short.
        let stalls = (44..92).map(|left| {
            let supervisor = daemon.supervisor.clone();
            async move {
                let script = "head -c 6000000 /dev/zero; echo done >&2";
                let mut spec = shell(Kind::Job, &format!("dump-{left}"), script);
                spec.networks.clear();
                let mut piped = supervisor
                    .run_piped(spec, false, 10 * PATIENCE, CancellationToken::new())
                    .await
                    .unwrap();
                let (mut bytes, mut stalled) = (0, false);
                while let Some(piece) = piped.output.recv().await {
                    bytes += piece.unwrap().len();
                    if !stalled && bytes > 6_000_000 - left * 25_000 {
                        stalled = true;
                        tokio::time::sleep(6 * SECOND).await;
                    }
                }
                let end = piped.end.await.unwrap().unwrap();
                assert!(end.is_success(), "{end:?}");
                assert_eq!(end.errors, ["done"]);
                (left, bytes)
            }
        });
        // Not all at once: their making alone would take the engine longer than it is given.
        let ended: Vec<_> = futures_util::stream::iter(stalls)
            .buffer_unordered(16)
            .collect()
            .await;
        let short: Vec<_> = ended.iter().filter(|(_, b)| *b != 6_000_000).collect();
        assert!(short.is_empty(), "the end is missing: {short:?}");
        m.has_no_container().await;
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f6_piped_input_reaches_its_end_and_a_dropped_job_dies() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let spec = shell(Kind::Job, "restore-1", "md5sum; exit 6");
        let mut piped = daemon
            .supervisor
            .run_piped(spec, true, 2 * PATIENCE, CancellationToken::new())
            .await
            .unwrap();
        let mut input = piped.input.take().unwrap();
        input.write_all(b"hello").await.unwrap();
        input.shutdown().await.unwrap();
        let said = piped.output.recv().await.unwrap().unwrap();
        assert!(said.starts_with(b"5d41402abc4b2a76b9719d911017c592"));
        assert!(piped.output.recv().await.is_none());
        assert_eq!(piped.end.await.unwrap().unwrap().exit.code, 6);
        for (name, script) in [("dump-2", "yes"), ("dump-3", "sleep 1000")] {
            let spec = shell(Kind::Job, name, script);
            let piped = daemon
                .supervisor
                .run_piped(spec, false, 2 * PATIENCE, CancellationToken::new())
                .await
                .unwrap();
            drop(piped.output);
            assert!(piped.end.await.unwrap().is_err());
        }
        m.has_no_container().await;
        daemon.stop().await;
    })
    .await;
}

/// As `pg_restore --list`, which reads an archive's head and ends: what is written after that is not taken, and the write ends.
#[tokio::test]
async fn f6_a_job_that_wants_no_more_of_its_input_is_over_for_its_writer_too() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let spec = shell(Kind::Job, "list-1", "head -c 1000 | wc -c");
        let mut piped = daemon
            .supervisor
            .run_piped(spec, true, 2 * PATIENCE, CancellationToken::new())
            .await
            .unwrap();
        let mut input = piped.input.take().unwrap();
        let fed = tokio::spawn(async move {
            let mut pieces = 0;
            while input.write_all(&[b'a'; 60_000]).await.is_ok() {
                pieces += 1;
            }
            let _ = input.shutdown().await;
            (pieces, std::time::Instant::now())
        });
        let said = piped.output.recv().await.unwrap().unwrap();
        assert_eq!(&said[..], b"1000\n");
        assert!(piped.output.recv().await.is_none());
        assert!(piped.end.await.unwrap().unwrap().is_success());
        let ended = std::time::Instant::now();
        let (pieces, at) = fed.await.unwrap();
        // The engine lets go of such a connection after two minutes.
        let late = at.saturating_duration_since(ended);
        assert!(
            late < 60 * SECOND,
            "{pieces} pieces, {late:?} after the end"
        );
        m.has_no_container().await;
        daemon.stop().await;
    })
    .await;
}
