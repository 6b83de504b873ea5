//! Commands inside running containers.
//!
//! The exit code is known only by asking after the stream has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::ExecConfig;
use bytes::Bytes;

use super::engine::{Engine, SHORT};
use super::error::EngineError;
use super::hijack::{Attached, Framing};

/// A command to run inside a container.
#[derive(Clone, Debug, Default)]
pub struct NewExec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the container's environment.
    pub env: BTreeMap<String, String>,
    /// Instead of the container's user.
    pub user: Option<String>,
    /// Whether standard input is open.
    pub stdin: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

impl Engine {
    /// Starts a command; gives its id and both directions.
    ///
    /// # Errors
    /// `Conflict` when the container does not run. A command that is not there
    /// shows as words on standard error and exit code 126 or 127.
    pub async fn exec(
        &self,
        container: &str,
        new: &NewExec,
    ) -> Result<(String, Attached), EngineError> {
        let program = new.argv.first().cloned().unwrap_or_default();
        let what = format!("run {program} in container {container}");
        let config = ExecConfig {
            attach_stdin: Some(new.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(new.tty),
            env: Some(new.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
            cmd: Some(new.argv.clone()),
            user: new.user.clone(),
            ..Default::default()
        };
        let made = self
            .call(&what, SHORT, self.docker.create_exec(container, config))
            .await?;
        let body = serde_json::json!({ "Detach": false, "Tty": new.tty }).to_string();
        let framing = match new.tty {
            true => Framing::Terminal,
            false => Framing::FramesOrWords,
        };
        let path = format!("/exec/{}/start", made.id);
        let attached = self.hijack(what, &path, Bytes::from(body), framing).await?;
        Ok((made.id, attached))
    }

    /// The exit code of a command whose output has ended.
    ///
    /// # Errors
    /// `CutShort` when it still runs 30 s after its output ended.
    pub async fn exec_exit_code(&self, exec: &str) -> Result<i64, EngineError> {
        let what = "exit code of a command".to_owned();
        for _ in 0..300 {
            let seen = self
                .call(&what, SHORT, self.docker.inspect_exec(exec))
                .await?;
            if let (false, Some(code)) = (seen.running.unwrap_or(false), seen.exit_code) {
                return Ok(code);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(EngineError::CutShort {
            what,
            message: "its output ended, but it still runs".to_owned(),
        })
    }

    /// The process id on the box of a command that runs.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn exec_pid(&self, exec: &str) -> Result<Option<u32>, EngineError> {
        let seen = self
            .call(
                "process of a command",
                SHORT,
                self.docker.inspect_exec(exec),
            )
            .await?;
        Ok(seen
            .running
            .unwrap_or(false)
            .then_some(seen.pid)
            .flatten()
            .and_then(|p| u32::try_from(p).ok())
            .filter(|p| *p > 0))
    }

    /// Tells a command's terminal its size.
    ///
    /// # Errors
    /// When it does not run (any more).
    pub async fn exec_resize(
        &self,
        exec: &str,
        rows: u16,
        columns: u16,
    ) -> Result<(), EngineError> {
        let options = bollard::query_parameters::ResizeExecOptions {
            h: i32::from(rows),
            w: i32::from(columns),
        };
        self.call(
            "resize a command's terminal",
            SHORT,
            self.docker.resize_exec(exec, options),
        )
        .await
    }

    /// Tells a container's terminal its size.
    ///
    /// # Errors
    /// When it does not run (any more).
    pub async fn container_resize(
        &self,
        name: &str,
        rows: u16,
        columns: u16,
    ) -> Result<(), EngineError> {
        let options = bollard::query_parameters::ResizeContainerTTYOptions {
            h: i32::from(rows),
            w: i32::from(columns),
        };
        self.call(
            "resize a container's terminal",
            SHORT,
            self.docker.resize_container_tty(name, options),
        )
        .await
    }
}
