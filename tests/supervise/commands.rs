//! Commands and terminals inside a container, and one-off containers.

use freehold::supervise::TerminalSize;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use crate::rig::*;

/// Processes of this machine with that command line.
fn processes(command: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| std::fs::read(e.path().join("cmdline")).is_ok_and(|c| c == command.as_bytes()))
        .count()
}

/// What a terminal says to its end.
async fn said(mut terminal: freehold::supervise::Interactive) -> (String, i64) {
    let mut text = Vec::new();
    while let Some(chunk) = terminal.output.next().await {
        text.extend_from_slice(chunk.unwrap().bytes());
    }
    let code = terminal.exit.await.unwrap().unwrap();
    (String::from_utf8_lossy(&text).into_owned(), code)
}

#[tokio::test]
async fn f3_commands_and_terminals_inside_a_container() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let (row, _) = daemon.ready(web("tasks-web-v1-1")).await;
        let done = daemon
            .supervisor
            .exec(
                row,
                words(&["sh", "-c", "cat; echo $A >&2; exit 9"]),
                [("A".to_owned(), "b c".to_owned())].into(),
                Some(b"in".to_vec()),
                PATIENCE,
            )
            .await
            .unwrap();
        assert_eq!(
            (done.code, &done.out[..], &done.err[..]),
            (9, &b"in"[..], &b"b c\n"[..])
        );
        let size = TerminalSize {
            rows: 40,
            columns: 100,
        };
        let mut shell_in = daemon
            .supervisor
            .exec_interactive(row, words(&["sh"]), [].into(), Some(size))
            .await
            .unwrap();
        shell_in
            .input
            .write_all(b"stty size; exit 7\n")
            .await
            .unwrap();
        let (text, code) = said(shell_in).await;
        assert!(text.contains("40 100"), "{text}");
        assert_eq!(code, 7);
        // A caller that leaves takes its command with it.
        let left = daemon
            .supervisor
            .exec_interactive(row, words(&["sleep", "7654"]), [].into(), Some(size))
            .await
            .unwrap();
        let running = || processes("sleep\x007654\0");
        eventually("the command to run", async || running() > 0).await;
        drop(left);
        eventually("the command to end", async || running() == 0).await;
        let spec = shell(Kind::Job, "one-off-1", "read line; echo got $line; exit 8");
        let mut one_off = daemon.supervisor.run_interactive(spec, None).await.unwrap();
        one_off.input.write_all(b"this\n").await.unwrap();
        assert_eq!(said(one_off).await, ("got this\n".to_owned(), 8));
        daemon.stop().await;
    })
    .await;
}
