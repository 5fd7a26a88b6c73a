//! The searches: each looks at one kind of trouble with the others held small, because together they would never end.

use super::Bounds;
use wire::document::Acknowledge;

const NOTHING: Bounds = Bounds {
    name: "nothing",
    acknowledge: Acknowledge::Primary,
    writes: 2,
    epoch: 3,
    late: 0,
    ends: 0,
    deaf: false,
    stale: false,
    stale_applies: false,
    views: false,
    accept_loss: false,
    beyond_stable: false,
};

/// Seconds.
pub const QUICK: &[Bounds] = &[LATE, ENDS, WORDS, GONE, STALE, VIEWS, AGAIN, RETURNS];

/// Minutes.
pub const DEEP: &[Bounds] = &[
    Bounds { epoch: 5, ..LATE },
    Bounds { epoch: 4, ..ENDS },
    Bounds { epoch: 4, ends: 1, ..WORDS },
    Bounds { epoch: 4, ends: 2, ..GONE },
    Bounds { epoch: 4, accept_loss: true, ..STALE },
    Bounds { epoch: 4, writes: 2, deaf: true, ..VIEWS },
    Bounds { ends: 1, ..AGAIN },
    Bounds { epoch: 4, late: 1, ..RETURNS },
];

/// Messages that are late, and arrive again and again.
pub const LATE: Bounds = Bounds { name: "late", late: 2, ..NOTHING };
/// Processes that end at any moment.
pub const ENDS: Bounds = Bounds { name: "ends", late: 1, ends: 1, ..NOTHING };
/// Writes that both confirm, with late words about that.
pub const WORDS: Bounds = Bounds { name: "words", acknowledge: Acknowledge::Auto, late: 1, deaf: true, ..NOTHING };
/// A primary that is gone, or only seems to be, and a person who accepts a loss.
pub const GONE: Bounds =
    Bounds { name: "gone", acknowledge: Acknowledge::Auto, ends: 1, deaf: true, accept_loss: true, ..NOTHING };
/// A second coordinator that stands still, and later calls nodes and moves processes as it believed then.
pub const STALE: Bounds = Bounds {
    name: "stale",
    acknowledge: Acknowledge::Auto,
    writes: 1,
    ends: 1,
    stale: true,
    stale_applies: true,
    ..NOTHING
};
/// A coordinator that acts upon what it saw some time ago.
pub const VIEWS: Bounds =
    Bounds { name: "views", acknowledge: Acknowledge::Auto, writes: 1, ends: 1, views: true, ..NOTHING };
/// One rollout after another, with writes that both confirm all the time.
pub const AGAIN: Bounds =
    Bounds { name: "again", acknowledge: Acknowledge::Both, writes: 1, beyond_stable: true, ..NOTHING };
/// The folder of a primary that was replaced is used again by the next rollout.
pub const RETURNS: Bounds =
    Bounds { name: "returns", writes: 1, ends: 1, accept_loss: true, beyond_stable: true, ..NOTHING };
