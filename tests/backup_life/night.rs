//! A night's dumps, planned by the clock: killed around that, each database of the server is dumped, and once. What is
//! counted is what became of this night: retention keeps the newest of a day, so that the night before goes.

use crate::support::sweep::Sweep;
use crate::support::until::{secs, until, until_true};
use crate::world::World;

#[test]
fn n5_a_night_that_a_kill_cuts_off_is_dumped_once() {
    // No night of its own comes meanwhile.
    let far = (jiff::Zoned::now().hour() + 12) % 24;
    let mut world = World::with(&format!("[database]\ndump_after_hour = {far}\n"));
    world.psql("postgres", "CREATE DATABASE more;");
    // The loop looks once a minute, and at a start at once.
    world.fh.restart();
    until_true("a schedule", secs(120), || {
        world.number("SELECT count(*) FROM backup_schedules") == 1
    });
    let mut sweep = Sweep::of("n5_a_night_that_a_kill_cuts_off_is_dumped_once");
    for point in sweep.points() {
        world.fh.stop();
        let last = |of: &str| world.number(&format!("SELECT coalesce(max(id), 0) FROM {of}"));
        let (row, event) = (last("backups"), last("events"));
        world.meddle("UPDATE backup_schedules SET next_due_ms = 1");
        world.fh.arm_next(&point);
        world.fh.start();
        sweep.struck(world.fh.crashed(&point, secs(180)));
        let asked = [
            // Stored: of each database one, and no other was made whole.
            format!("SELECT count(DISTINCT logical) FROM backups WHERE id > {row} AND state = 'stored' AND logical IN ('tasks', 'more')"),
            format!("SELECT count(*) FROM events WHERE id > {event} AND kind = 'backup.stored'"),
            // Nothing that would make more of them: work, dumps that wait, a night that is still due.
            "SELECT count(*) FROM jobs WHERE kind IN ('backup', 'backup.plan') AND state IN ('queued', 'running')".into(),
            "SELECT count(*) FROM backups WHERE state IN ('queued', 'running', 'verifying')".into(),
            "SELECT count(*) FROM backup_schedules WHERE next_due_ms = 1".into(),
            // Nobody is told of a failure: a server that is not seen yet after the start is waited for.
            format!("SELECT count(*) FROM events WHERE id > {event} AND kind = 'backup.failed'"),
        ];
        until(&format!("the night after {point}"), secs(180), || {
            let seen = asked.each_ref().map(|sql| world.number(sql));
            match seen {
                [2, 2, 0, 0, 0, 0] => Ok(()),
                _ => Err(format!("{seen:?}")),
            }
        });
    }
}
