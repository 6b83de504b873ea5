//! Handover: another Freehold takes this one's place, and no request is lost.
//!
//! The one that goes starts the other beside itself and gives it the listening sockets. The other looks at itself while
//! nothing has changed yet ([`taking`]). Then the work on the box passes over: everything of the control plane here ends,
//! its database is closed, the lease is free, and the other takes it, all while the edge here serves on. When the other
//! takes connections, they go through it ([`front_door`] asks), and this one serves what it has to its end ([`giving`]): it
//! hears where routes lead meanwhile ([`leads`]) and tells what it still counts ([`counted`]).
//!
//! Invariants: never do two control planes act, for the lease is given up by whoever has ended already, and taken before
//! anything is done. Whatever the other does, crash, hang or refuse, the edge here serves until it is proven that the
//! other does; a control plane that has ended is replaced by one of the program that ran before.

pub mod counted;
pub mod front_door;
pub mod giving;
pub mod leads;
pub mod taking;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

/// For the other to start and to look at itself.
const CHECKED_WITHIN: Duration = Duration::from_secs(15);
/// For it to take the lease, to read the state through and to serve.
pub const SERVING_WITHIN: Duration = Duration::from_secs(30);
/// The same for the program that ran before: there is nobody else to take the box back, and to make a damaged state anew
/// takes its time. The edge serves meanwhile.
pub const BACK_WITHIN: Duration = Duration::from_secs(600);
/// So many may serve on what they have beside the one that has the box: each holds memory.
pub const MOST_LEAVING: u32 = 4;
/// Between what the one that leaves tells of its figures.
pub const TOLD_EVERY: Duration = Duration::from_secs(1);
/// For the last of that to go over.
pub const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// For those who came to an address that is given up to be taken.
pub const LAST_COMERS: Duration = Duration::from_secs(1);
/// For the last of it to be seen dead.
const ENDED_WITHIN: Duration = Duration::from_secs(5);
/// Between tries to bring back a control plane where the other one's failed.
pub const AGAIN: Duration = Duration::from_secs(2);

/// What a successor is started with, beside the sockets.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// As `freehold serve` was told.
    pub config: PathBuf,
    pub data_dir: Option<PathBuf>,
    pub json: bool,
}

/// Where the tests kill whoever hands over, or takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The successor has looked at itself, and not said so.
    Looked,
    /// The one that goes acts no more, and has not said so.
    LetGo,
    /// The successor has the lease, and nothing else of the box.
    Taken,
    /// The successor acts, and takes no connection yet.
    Acts,
    /// The one that goes takes none any more, and has asked for no answer.
    Closed,
    /// It has told systemd, and not the successor.
    Told,
}

impl Step {
    /// All, in their order.
    pub const ALL: [Self; 6] = [
        Self::Looked,
        Self::LetGo,
        Self::Taken,
        Self::Acts,
        Self::Closed,
        Self::Told,
    ];

    /// The crash point after it.
    pub fn point(self) -> &'static str {
        match self {
            Self::Looked => "handover.looked.after",
            Self::LetGo => "handover.let_go.after",
            Self::Taken => "handover.taken.after",
            Self::Acts => "handover.acts.after",
            Self::Closed => "handover.closed.after",
            Self::Told => "handover.told.after",
        }
    }
}
