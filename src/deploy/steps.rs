//! Steps of work that has no state in a row, because all of it is done again after a crash: more or fewer replicas, the
//! removal of an app, a folder of files. Each is a line at which the tests kill the daemon, so that "done again" is seen
//! to be harmless from every one of them.

use super::state;
use crate::base::crash_point;

macro_rules! steps {
    ($(#[$about:meta])* $name:ident { $($(#[$said:meta])* $step:ident = $point:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub(super) enum $name {
            $($(#[$said])* $step,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$step,)*];

            fn point(self) -> &'static str {
                match self {
                    $(Self::$step => $point,)*
                }
            }

            /// The work has come this far.
            pub(super) fn passed(self) {
                crash_point::hit(self.point());
            }
        }
    };
}

steps! {
    /// Bringing the number of replicas to what is wanted.
    Scaling {
        /// The number is set, and nobody works on it yet.
        Unasked = "scale.unasked",
        /// The work is queued.
        Asked = "scale.asked",
        /// New containers are wanted.
        Made = "scale.made",
        /// They are healthy.
        Ready = "scale.ready",
        /// About to be written down as those that serve.
        Unlisted = "scale.unlisted",
        /// Written down.
        Listed = "scale.listed",
        /// The proxy has taken it over.
        Published = "scale.published",
        /// Those that are too many have no request left, and are wanted no more.
        Drained = "scale.drained",
        /// One of them is gone.
        Gone = "scale.gone",
    }
}

steps! {
    /// Removing an app.
    Removal {
        /// Marked and queued; it still serves.
        Marked = "removal.marked",
        /// The proxy sends it nothing any more.
        Unserved = "removal.unserved",
        /// No request is left in it.
        Drained = "removal.drained",
        /// Its containers are gone.
        Stopped = "removal.stopped",
        /// Its databases do not know it any more.
        Detached = "removal.detached",
        /// Its network is gone.
        Unlinked = "removal.unlinked",
        /// Its images are gone, and its volumes where that was asked for.
        Imageless = "removal.imageless",
        /// Its files are gone.
        Emptied = "removal.emptied",
        /// Its row is gone.
        Deleted = "removal.deleted",
    }
}

steps! {
    /// Laying out a folder of files, and taking one away.
    Folder {
        /// All files are there, under the name of what is not whole.
        Copied = "static.copied",
        /// They have their own name.
        Placed = "static.placed",
        /// And stand in the record beside them.
        Recorded = "static.recorded",
        /// A folder or a record that no release needs is gone; the other is not yet.
        Collected = "static.collected",
    }
}

/// Every line of this domain's work at which the tests kill the daemon.
pub fn crash_points() -> Vec<String> {
    let scaling = Scaling::ALL.iter().map(|step| step.point());
    let removal = Removal::ALL.iter().map(|step| step.point());
    let folder = Folder::ALL.iter().map(|step| step.point());
    let steps = scaling.chain(removal).chain(folder).map(str::to_owned);
    state::points().into_iter().chain(steps).collect()
}
