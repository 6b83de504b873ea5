//! Which test kills at which crash points: every sweep and its share of the registries, on one page.
//!
//! A sweep walks the points of its share and gives back a [`Killed`] for each, which exists only when the point has
//! struck; one that is left out fails the sweep at its end. `tests/tidy.rs` compares all shares with all registries.

#![allow(dead_code)]

use std::collections::BTreeSet;
use std::path::Path;

/// The registries of the domains, by their modules' names.
pub fn registries() -> Vec<(&'static str, Vec<String>)> {
    vec![
        ("audit", freehold::audit::crash_points()),
        ("backup", freehold::backup::crash_points()),
        ("certs", freehold::certs::crash_points()),
        ("daemon", freehold::daemon::crash_points()),
        ("deploy", freehold::deploy::crash_points()),
        ("jobs", freehold::jobs::crash_points()),
        ("postgres", freehold::postgres::crash_points()),
        ("supervise", freehold::supervise::crash_points()),
    ]
}

/// One test that kills the daemon at each point of its share.
pub struct Share {
    /// The test's function.
    pub test: &'static str,
    /// Its file under `tests/`.
    pub file: &'static str,
    /// The module whose registry it walks.
    pub registry: &'static str,
    /// What the names of its points contain.
    pub takes: &'static [&'static str],
}

/// All of them. A state that is new belongs to no share, and `tests/tidy.rs` says so.
#[rustfmt::skip]
pub const SHARES: &[Share] = &[
    Share {
        test: "a5_a_kill_around_either_row_leaves_an_entry_that_says_so",
        file: "audit.rs",
        registry: "audit",
        takes: &[".intent.", ".outcome."],
    },
    Share {
        test: "n4_whoever_is_killed_during_a_handover_the_box_is_back",
        file: "drops/n4_handover.rs",
        registry: "daemon",
        takes: &["handover."],
    },
    Share {
        test: "f8_a_deploy_survives_a_kill_at_every_point",
        file: "first_light/steps/f8_crash.rs",
        registry: "deploy",
        takes: &[
            ".queued.", ".fetching.", ".building.", ".releasing.", ".starting.", ".checking.", ".switching.",
            ".draining.", ".watching.",
        ],
    },
    Share {
        test: "f8_a_kill_at_every_end_of_a_deploy_changes_nothing_about_it",
        file: "deploy_engine/crash.rs",
        registry: "deploy",
        takes: &[".live.", ".failed.", ".cancelled.", ".returned."],
    },
    Share {
        test: "f8_a_kill_while_a_deploy_overtakes_another_leaves_one_of_them",
        file: "deploy_engine/crash.rs",
        registry: "deploy",
        takes: &[".superseded.", ".queued.after"],
    },
    Share {
        test: "f8_a_kill_between_changed_settings_and_their_deploy_keeps_neither_from_the_app",
        file: "api_behaviour/settings.rs",
        registry: "deploy",
        takes: &[".queued."],
    },
    Share {
        test: "n5_a_rollback_survives_a_kill_at_every_point",
        file: "kills/verbs.rs",
        registry: "deploy",
        takes: &[".queued.", ".starting.", ".checking.", ".switching.", ".draining.", ".watching.", ".live."],
    },
    Share {
        test: "n5_other_variables_survive_a_kill_at_every_point",
        file: "kills/verbs.rs",
        registry: "deploy",
        takes: &[".queued.", ".starting.", ".checking.", ".switching.", ".draining.", ".watching."],
    },
    Share {
        test: "n5_more_and_fewer_replicas_survive_a_kill_at_every_point",
        file: "kills/verbs.rs",
        registry: "deploy",
        takes: &["scale."],
    },
    Share {
        test: "n5_a_removal_survives_a_kill_at_every_point",
        file: "kills/verbs.rs",
        registry: "deploy",
        takes: &["removal."],
    },
    Share {
        test: "n5_a_folder_of_files_survives_a_kill_at_every_point",
        file: "kills/verbs.rs",
        registry: "deploy",
        takes: &[".fetching.", ".building.", "static.", ".releasing.", ".starting.", ".checking.", ".switching."],
    },
    Share {
        test: "n5_an_uploaded_folder_survives_a_kill_at_every_point",
        file: "kills/verbs.rs",
        registry: "deploy",
        takes: &[
            ".queued.", ".fetching.", ".building.", ".releasing.", ".starting.", ".checking.", ".switching.",
            ".draining.", ".watching.", ".live.",
        ],
    },
    Share {
        test: "f8_an_order_survives_a_kill_at_every_point",
        file: "first_light/steps/f8_crash.rs",
        registry: "certs",
        takes: &[
            ".prepared.", ".ordered.", ".challenge_live.", ".validated.", ".finalizing.", ".issued.", ".failed.",
        ],
    },
    Share {
        test: "f8_an_order_survives_kill_9_at_every_crash_point",
        file: "certs/crash.rs",
        registry: "certs",
        takes: &[
            ".prepared.", ".ordered.", ".challenge_live.", ".validated.", ".finalizing.", ".issued.", ".failed.",
        ],
    },
    Share {
        test: "f8_a_new_database_survives_a_kill_at_every_point",
        file: "first_light/steps/f8_crash.rs",
        registry: "postgres",
        takes: &[".creating.", ".starting.", ".verifying.", ".ready.", ".removing."],
    },
    Share {
        test: "f8_a_kill_while_a_database_fails_leaves_no_server_running",
        file: "postgres_life.rs",
        registry: "postgres",
        takes: &[".failed."],
    },
    Share {
        test: "f8_a_kill_around_an_attachment_leaves_the_app_with_what_is_written_down",
        file: "deploy_engine/crash.rs",
        registry: "postgres",
        takes: &[".attaching.", ".attached.", ".detaching.", ".detached."],
    },
    Share {
        test: "f8_backups_and_restores_survive_a_kill_at_every_point",
        file: "first_light/steps/f6_backups.rs",
        registry: "backup",
        takes: &[
            "backup.queued.", "backup.running.", "backup.verifying.", "backup.stored.",
            "restore.queued.", "restore.loading.", "restore.comparing.", "restore.swapping.", "restore.done.",
        ],
    },
    Share {
        test: "f8_a_kill_while_a_backup_fails_or_expires_or_a_restore_fails_leaves_nothing_over",
        file: "backup_life.rs",
        registry: "backup",
        takes: &["backup.failed.", "backup.expired.", "restore.failed."],
    },
    Share {
        test: "n5_a_night_that_a_kill_cuts_off_is_dumped_once",
        file: "backup_life/night.rs",
        registry: "backup",
        takes: &["backup.due.", "backup.plan."],
    },
    Share {
        test: "n5_a_job_survives_a_kill_around_each_write_of_its_state",
        file: "kills/jobs.rs",
        registry: "jobs",
        takes: &[".running.", ".done.", ".again.", ".failed.", ".cancelled."],
    },
    Share {
        test: "f8_a_kill_at_any_point_loses_and_doubles_nothing",
        file: "supervise/crash.rs",
        registry: "supervise",
        takes: &[".create.", ".start.", ".remove.", ".job.end."],
    },
];

impl Share {
    /// The points of its registry that it takes.
    pub fn points(&self) -> Vec<String> {
        let found = registries().into_iter().find(|(n, _)| *n == self.registry);
        let (_, points) = found.unwrap_or_else(|| panic!("no registry {}", self.registry));
        let taken = |p: &String| self.takes.iter().any(|t| p.contains(t));
        points.into_iter().filter(taken).collect()
    }
}

/// The word that a point has struck.
pub struct Killed(String);

impl Killed {
    /// The process left `mark` behind when it killed itself at `point`.
    pub fn at(point: &str, mark: &Path) -> Self {
        assert!(mark.exists(), "{point} was not passed");
        Self(point.to_owned())
    }
}

/// A walk through one share.
pub struct Sweep {
    share: Vec<String>,
    struck: BTreeSet<String>,
}

impl Sweep {
    /// The walk of the test called `test`.
    pub fn of(test: &str) -> Self {
        let share = SHARES.iter().find(|s| s.test == test);
        let share =
            share.unwrap_or_else(|| panic!("{test} has no share in tests/support/sweep.rs"));
        Self {
            share: share.points(),
            struck: BTreeSet::new(),
        }
    }

    pub fn points(&self) -> Vec<String> {
        self.share.clone()
    }

    pub fn struck(&mut self, killed: Killed) {
        self.struck.insert(killed.0);
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let left: Vec<&String> = self
                .share
                .iter()
                .filter(|p| !self.struck.contains(*p))
                .collect();
            assert!(left.is_empty(), "points were left out: {left:?}");
        }
    }
}
