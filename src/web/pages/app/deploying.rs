//! A deploy in words: its state, its steps, what it deploys and who asked.

use std::time::Duration;

use super::deploy::Step;
use crate::base::clock::UnixMs;
use crate::deploy::{Cause, Deploy, Serving, Source, State};
use crate::web::pages::parts::{Badge, Tone};
use crate::web::pages::words;

/// The steps a page shows, in order.
const STEPS: [(State, &str); 8] = [
    (State::Fetching, "Fetch"),
    (State::Building, "Build"),
    (State::Releasing, "Release command"),
    (State::Starting, "Start"),
    (State::Checking, "Check"),
    (State::Switching, "Switch"),
    (State::Draining, "Drain"),
    (State::Watching, "Watch"),
];

/// The state as a badge. `serving` tells whether its release still gets the traffic.
pub fn badge(deploy: &Deploy, serving: Option<&Serving>) -> Badge {
    let live = serving.is_some_and(|s| s.deploy == deploy.id && !s.stopped);
    match deploy.state {
        State::Queued => Badge::new(Tone::Busy, "Queued"),
        state if state.is_before_switch() && deploy.cancel => {
            Badge::new(Tone::Busy, "Being cancelled")
        }
        State::Fetching => Badge::new(Tone::Busy, "Fetching"),
        State::Building => Badge::new(Tone::Busy, "Building"),
        State::Releasing => Badge::new(Tone::Busy, "Release command"),
        State::Starting => Badge::new(Tone::Busy, "Starting"),
        State::Checking => Badge::new(Tone::Busy, "Checking"),
        State::Switching => Badge::new(Tone::Busy, "Switching"),
        State::Draining => Badge::new(Tone::Busy, "Draining"),
        State::Watching if live => Badge::new(Tone::Ok, "Live, watched"),
        State::Live if live => Badge::new(Tone::Ok, "Live"),
        State::Watching | State::Live => Badge::new(Tone::Idle, "Replaced"),
        State::Returned => Badge::new(Tone::Bad, "Went back"),
        State::Failed => Badge::new(Tone::Bad, "Failed"),
        State::Cancelled => Badge::new(Tone::Idle, "Cancelled"),
        State::Superseded => Badge::new(Tone::Idle, "Overtaken"),
    }
}

/// "4f2a91c Sort tasks by date".
pub fn what(deploy: &Deploy) -> String {
    match (&deploy.commit, &deploy.title, &deploy.source) {
        (Some(commit), Some(title), _) => format!("{} {title}", short(commit)),
        (Some(commit), None, _) => format!("commit {}", short(commit)),
        (None, Some(title), Source::Git { .. }) => title.clone(),
        (.., source) => source.describe(),
    }
}

/// "push by Ana".
pub fn by(deploy: &Deploy) -> String {
    let how = match deploy.cause {
        Cause::Webhook => "push",
        Cause::Person => "asked for",
        Cause::Rollback => "rollback",
        Cause::Restart => "restart",
        Cause::Settings => "settings changed",
        Cause::Return => return "went back by itself".to_owned(),
    };
    match deploy.by.as_str() {
        "" => how.to_owned(),
        by => format!("{how} by {by}"),
    }
}

/// How long it took, or has taken.
pub fn took(deploy: &Deploy, now: UnixMs) -> String {
    let Some(begun) = deploy.started else {
        return String::new();
    };
    // Watching is not waited for: the deploy was done when it began.
    let end = match deploy.state {
        State::Watching => deploy.state_since,
        _ => deploy
            .switched
            .filter(|_| deploy.state == State::Live)
            .or(deploy.finished)
            .unwrap_or(now),
    };
    words::length(whole_seconds(end.since(begun)))
}

fn whole_seconds(time: Duration) -> Duration {
    match time.as_secs() {
        0..=9 => time,
        seconds => Duration::from_secs(seconds),
    }
}

/// The first digits of a commit.
pub fn short(commit: &str) -> String {
    commit.chars().take(7).collect()
}

/// What it went through, from when it entered each state.
pub fn steps(deploy: &Deploy, entered: &[(State, UnixMs)], now: UnixMs) -> Vec<Step> {
    let at = |state: State| entered.iter().find(|(s, _)| *s == state).map(|(_, at)| *at);
    let last = STEPS.iter().rposition(|(state, _)| at(*state).is_some());
    let failed = matches!(deploy.state, State::Failed | State::Returned);
    STEPS
        .iter()
        .enumerate()
        .filter_map(|(index, (state, word))| {
            let begun = at(*state);
            let passed = last.is_some_and(|last| index < last);
            let tone = match begun {
                None if passed || deploy.state.is_final() => return None,
                None => Tone::Idle,
                Some(_) if deploy.state == *state && *state == State::Watching => Tone::Ok,
                Some(_) if deploy.state == *state => Tone::Busy,
                Some(_) if failed && last == Some(index) => Tone::Bad,
                Some(_) if deploy.state == State::Cancelled && last == Some(index) => Tone::Idle,
                Some(_) => Tone::Ok,
            };
            let end = entered
                .iter()
                .map(|(_, at)| *at)
                .filter(|at| begun.is_some_and(|begun| *at > begun))
                .min()
                .or(deploy.finished)
                .unwrap_or(now);
            Some(Step {
                tone,
                word,
                took: begun
                    .filter(|_| *state != State::Watching)
                    .map_or_else(String::new, |begun| {
                        words::length(whole_seconds(end.since(begun)))
                    }),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn deploy(state: State) -> Deploy {
        Deploy {
            id: 4,
            app: 1,
            state,
            source: Source::Settings,
            cause: Cause::Webhook,
            by: "Ana".into(),
            commit: Some("4f2a91c0ffee".into()),
            title: Some("Sort".into()),
            image: None,
            release: None,
            returns_to: None,
            cancel: false,
            error: None,
            created: UnixMs(1_000),
            started: Some(UnixMs(1_000)),
            state_since: UnixMs(5_000),
            switched: None,
            finished: None,
        }
    }

    #[test]
    fn f4_steps_tell_how_far_it_got() {
        let entered = [
            (State::Fetching, UnixMs(1_000)),
            (State::Building, UnixMs(3_000)),
        ];
        let shown = |state| {
            let mut deploy = deploy(state);
            if state.is_final() {
                deploy.finished = Some(UnixMs(9_000));
            }
            steps(&deploy, &entered, UnixMs(9_000))
                .into_iter()
                .map(|s| (s.word, s.tone, s.took))
                .collect::<Vec<_>>()
        };
        let busy = shown(State::Building);
        assert_eq!(busy[0], ("Fetch", Tone::Ok, "2.0 s".into()));
        assert_eq!(busy[1], ("Build", Tone::Busy, "6.0 s".into()));
        assert_eq!(busy[2].1, Tone::Idle);
        let failed = shown(State::Failed);
        assert_eq!(failed.len(), 2, "what never came is not shown");
        assert_eq!(failed[1].1, Tone::Bad);
    }

    #[test]
    fn f4_a_deploy_is_told_by_its_commit_and_who_asked() {
        let deploy = deploy(State::Live);
        assert_eq!(what(&deploy), "4f2a91c Sort");
        assert_eq!(by(&deploy), "push by Ana");
        assert_eq!(badge(&deploy, None).word, "Replaced");
    }
}
