//! BuildKit's progress reports as plain lines, in the form people know:
//! `#5 [2/3] RUN make`, `#5 0.412 output`, `#5 DONE 3.2s`.
//!
//! A line is given as soon as its end has come, so that what a step prints is
//! seen while the step still runs.

use std::collections::HashMap;

use bollard::moby::buildkit::v1::StatusResponse;

/// A line of a build's output is cut here.
const LONGEST_LINE: usize = 8 << 10;
/// Steps of one build that are told apart; more is nonsense or an attack.
const MOST_STEPS: usize = 10_000;

#[derive(Default)]
struct Step {
    number: usize,
    name: String,
    started: Option<f64>,
    announced: bool,
    finished: bool,
    open: Vec<u8>,
}

/// Turns reports into lines.
#[derive(Default)]
pub(super) struct Progress {
    steps: HashMap<String, Step>,
    failed: Option<String>,
}

impl Progress {
    /// The lines that this report completes.
    pub(super) fn take(&mut self, report: &StatusResponse) -> Vec<String> {
        let mut lines = Vec::new();
        for vertex in &report.vertexes {
            let Some(step) = self.step(&vertex.digest) else {
                continue;
            };
            if step.name.is_empty() {
                step.name = vertex.name.clone();
            }
            let started = vertex.started.as_ref().map(|t| seconds(t.seconds, t.nanos));
            if started.is_some() {
                step.started = started;
            }
            if (started.is_some() || vertex.cached) && !step.announced {
                step.announced = true;
                lines.push(format!("#{} {}", step.number, step.name));
            }
            if let (Some(completed), false) = (vertex.completed.as_ref(), step.finished) {
                step.finished = true;
                step.flush(&mut lines, None);
                let number = step.number;
                if !vertex.error.is_empty() {
                    lines.push(format!("#{number} ERROR: {}", vertex.error));
                    if !vertex.error.contains("context canceled") {
                        self.failed = Some(vertex.name.clone());
                    }
                } else if vertex.cached {
                    lines.push(format!("#{number} CACHED"));
                } else {
                    let end = seconds(completed.seconds, completed.nanos);
                    let took = step.started.map_or(0.0, |s| (end - s).max(0.0));
                    lines.push(format!("#{number} DONE {took:.1}s"));
                }
            }
        }
        for log in &report.logs {
            let at = log.timestamp.as_ref().map(|t| seconds(t.seconds, t.nanos));
            if let Some(step) = self.step(&log.vertex) {
                step.open.extend_from_slice(&log.msg);
                step.complete(&mut lines, at);
            }
        }
        for warning in &report.warnings {
            let text = String::from_utf8_lossy(&warning.short).into_owned();
            lines.push(format!("WARNING: {text}"));
        }
        lines
    }

    /// What is left when no more reports come.
    pub(super) fn finish(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for step in self.steps.values_mut() {
            step.flush(&mut lines, None);
        }
        lines
    }

    /// The name of the step that failed, such as `[3/5] RUN make`.
    pub(super) fn failed_step(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    fn step(&mut self, digest: &str) -> Option<&mut Step> {
        let known = self.steps.len();
        if !self.steps.contains_key(digest) {
            if known >= MOST_STEPS {
                return None;
            }
            self.steps.insert(
                digest.to_owned(),
                Step {
                    number: known + 1,
                    ..Step::default()
                },
            );
        }
        self.steps.get_mut(digest)
    }
}

impl Step {
    fn complete(&mut self, lines: &mut Vec<String>, at: Option<f64>) {
        while let Some(end) = self.open.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.open.drain(..=end).collect();
            self.give(lines, &line, at);
        }
        if self.open.len() > LONGEST_LINE {
            self.flush(lines, at);
        }
    }

    fn flush(&mut self, lines: &mut Vec<String>, at: Option<f64>) {
        if !self.open.is_empty() {
            let line = std::mem::take(&mut self.open);
            self.give(lines, &line, at);
        }
    }

    fn give(&self, lines: &mut Vec<String>, line: &[u8], at: Option<f64>) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A progress bar redraws its line: the last drawing is the one to keep.
        let shown = line.rsplit(|b| *b == b'\r').next().unwrap_or(line);
        let shown = &shown[..shown.len().min(LONGEST_LINE)];
        let text = String::from_utf8_lossy(shown);
        match (at, self.started) {
            (Some(at), Some(started)) => lines.push(format!(
                "#{} {:.3} {text}",
                self.number,
                (at - started).max(0.0)
            )),
            _ => lines.push(format!("#{} {text}", self.number)),
        }
    }
}

fn seconds(seconds: i64, nanos: i32) -> f64 {
    seconds as f64 + f64::from(nanos) / 1e9
}

/// A build's reports, for the fuzzer.
#[cfg(freehold_fuzz)]
pub(super) mod fuzz {
    use super::*;
    use bollard::moby::buildkit::v1::{Vertex, VertexLog};

    /// All lines of these reports: `s` begins and `e` ends the step whose letter follows, others are its output.
    pub(in crate::docker) fn lines(reports: &[&[u8]]) -> Vec<String> {
        let (mut progress, mut lines) = (Progress::default(), Vec::new());
        let (mut printed, mut told) = (0, 0);
        for report in reports {
            let [kind, step, rest @ ..] = report else {
                continue;
            };
            let digest = char::from(*step).to_string();
            let mut status = StatusResponse::default();
            let vertex = Vertex {
                digest: digest.clone(),
                name: "a step".into(),
                ..Default::default()
            };
            match kind {
                b's' => status.vertexes.push(Vertex {
                    started: Some(Default::default()),
                    ..vertex
                }),
                b'e' => status.vertexes.push(Vertex {
                    completed: Some(Default::default()),
                    error: String::from_utf8_lossy(rest).into_owned(),
                    ..vertex
                }),
                _ => {
                    // The letter before stands for its line's end.
                    let msg = [rest, if *kind == b'l' { b"\n" } else { b"" }].concat();
                    printed += msg.iter().filter(|byte| **byte == b'~').count();
                    status.logs.push(VertexLog {
                        vertex: digest,
                        msg,
                        ..Default::default()
                    });
                }
            }
            let more = progress.take(&status);
            if *kind != b'e' || !rest.contains(&b'~') {
                told += more
                    .iter()
                    .map(|line| line.matches('~').count())
                    .sum::<usize>();
            }
            lines.extend(more);
        }
        let more = progress.finish();
        told += more
            .iter()
            .map(|line| line.matches('~').count())
            .sum::<usize>();
        lines.extend(more);
        // What a bar draws over is left out, and what an error says is said beside.
        let plain = |report: &&[u8]| !report.contains(&b'\r') && !matches!(report, [b'e', ..]);
        if reports.iter().all(plain) {
            assert_eq!(printed, told, "{lines:?}");
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::moby::buildkit::v1::{Vertex, VertexLog};

    fn vertex(digest: &str, name: &str) -> Vertex {
        Vertex {
            digest: digest.into(),
            name: name.into(),
            ..Default::default()
        }
    }

    fn log(digest: &str, text: &str) -> StatusResponse {
        StatusResponse {
            logs: vec![VertexLog {
                vertex: digest.into(),
                msg: text.as_bytes().to_vec(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn f4_a_line_is_given_before_its_step_ends() {
        let mut progress = Progress::default();
        let mut started = vertex("a", "[2/3] RUN make");
        started.started = Some(Default::default());
        let report = StatusResponse {
            vertexes: vec![started.clone()],
            ..Default::default()
        };
        assert_eq!(progress.take(&report), ["#1 [2/3] RUN make"]);
        assert_eq!(progress.take(&report), Vec::<String>::new());
        assert_eq!(progress.take(&log("a", "one\ntw")), ["#1 one"]);
        assert_eq!(
            progress.take(&log("a", "o\n10%\r99%\r\n")),
            ["#1 two", "#1 99%"]
        );
        assert_eq!(progress.take(&log("a", "rest")), Vec::<String>::new());
        started.completed = Some(Default::default());
        started.error = "exit code: 1".into();
        let report = StatusResponse {
            vertexes: vec![started],
            ..Default::default()
        };
        assert_eq!(
            progress.take(&report),
            ["#1 rest", "#1 ERROR: exit code: 1"]
        );
        assert_eq!(progress.failed_step(), Some("[2/3] RUN make"));
    }

    #[test]
    fn endless_lines_are_cut() {
        let mut progress = Progress::default();
        let lines = progress.take(&log("a", &"x".repeat(100_000)));
        assert!(lines.iter().all(|l| l.len() < 10_000));
        assert!(!lines.is_empty());
    }
}
